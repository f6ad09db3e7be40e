# jdysync: a PostgreSQL extension, built with PGXS.
#
#   make && sudo make install       build and install for the pg_config in PATH
#   make installcheck               SQL regression tests on a running server, then TAP tests
#                                   (several at a time with PROVE_FLAGS=-j4)
#   make demo                       the main job on the built-in simulator
#   make check-all                  every test, on servers of its own

EXTENSION = jdysync
DATA = sql/jdysync--1.0.sql
MODULE_big = jdysync
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
PGFILEDESC = "jdysync - Kingdee Xingchen into PostgreSQL"

REGRESS = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test --outputdir=. --load-extension=jdysync
TAP_TESTS = 1
PROVE_TESTS = test/t/*.pl

PG_CPPFLAGS = $(shell pkg-config --cflags libcurl libcrypto)
SHLIB_LINK = $(shell pkg-config --libs libcurl libcrypto)

# "make WERROR=1" is what continuous integration builds with.
ifdef WERROR
PG_CFLAGS += -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-cast-function-type
endif

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): $(wildcard src/*.h)

installcheck: export HARNESS_RULESFILE = $(CURDIR)/test/rules.yml

demo:
	test/demo

check-all:
	test/run

.PHONY: demo check-all
