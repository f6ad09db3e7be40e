/*-------------------------------------------------------------------------
 * metadata.h
 *		The JSON that says what to call, as a struct.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_METADATA_H
#define JDY_METADATA_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

typedef enum Effect
{
	EFFECT_QUERY,
	EFFECT_EXECUTE
} Effect;

/* One entry of request[] or otherRequest[]. */
typedef struct Field
{
	char	   *field;
	char	   *label;			/* may be NULL */
	char	   *type;			/* string, int, float, array, object, …; NULL = string */
	char	   *parent;			/* may be NULL */
	Jsonb	   *value;			/* NULL = none; a scalar is held as a jsonb scalar */
	List	   *children;		/* of Field * */
} Field;

typedef struct Metadata
{
	char	   *api;
	Effect		effect;
	char	   *method;			/* upper case; default GET for QUERY, POST for EXECUTE */
	List	   *id_fields;		/* of char *; NIL = none named */
	char	   *number_field;	/* may be NULL */
	char	   *name_field;		/* may be NULL */
	bool		id_check;
	List	   *request;		/* of Field * */
	List	   *other_request;
	Jsonb	   *operation;		/* may be NULL, checked to be an object */
	Jsonb	   *condition;		/* may be NULL, checked to be an array */
	Jsonb	   *delete_rule;	/* "delete": how records are deleted at the target; NULL = they are not */
	char	   *delete_api;		/* default: api */
	char	   *delete_method;	/* default: DELETE */
	Jsonb	   *delete_body;	/* template over the record's id; NULL = the id goes as parameter "id" */
	bool		look_up;		/* "lookup": false = records are saved without looking for them at the target */
	char	   *lookup_api;		/* where they are looked for; NULL = as is known of the save */
	char	   *lookup_param;	/* that names the number; default "number" */
	char	   *lookup_number;	/* the payload's member with the number; NULL = as is known of the save */
	char	   *rows_path;		/* from an object-shaped "response": {"rows":"data.list","count":"data.total"} */
	char	   *count_path;
	char	   *failed_path;	/* pushes: where a reply lists the records that failed; NULL = it does not */
	char	   *failed_id;		/* in an item of that list; default "id" */
	char	   *failed_message; /* likewise; default "message" */
	char	   *failed_count_path;	/* pushes: where a reply counts them; NULL = it does not */
	char	   *success_path;	/* pushes: what a reply must have to count as a success; NULL = errcode, code and status decide */
	char	   *success_value;	/* what must stand there, as text; NULL = anything but null and false */
	char	   *remedy_crontab; /* omissionRemedy; may be NULL */
	List	   *remedy_request; /* of Field *: takeOverRequest */
} Metadata;

/*
 * Parses and checks metadata in the current memory context.  Keys wrapped in
 * dollar signs are read as without; unknown keys are ignored, but for those
 * of the Qeasy language that would change meaning (parser, _findCollection,
 * _mongoQuery …), which are errors that name the SQL way.  "response" as Qeasy's array of
 * fields is accepted and not used.
 */
extern Metadata *jdy_metadata_parse(Jsonb *json, Effect expected);

/*
 * Warns of what a stream's metadata asks for and is not done (otherRequest,
 * condition), and says what to do instead.  staging: the
 * stream's table, quoted and qualified.  No error: pasted metadata works as it stands.
 */
extern void jdy_metadata_warn(const Metadata *metadata, const char *stream, const char *staging);

#endif							/* JDY_METADATA_H */
