/*-------------------------------------------------------------------------
 * robot.h
 *		Robots of chat groups: DingTalk, WeCom, Feishu.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_ROBOT_H
#define SIM_ROBOT_H

#include "request.h"

#define ROBOT_DINGTALK "/robot/send"
#define ROBOT_WECOM "/cgi-bin/webhook/send"
#define ROBOT_FEISHU "/open-apis/bot/v2/hook/"

extern void robot_answer(Request *req);

/* NDJSON of what the groups got: {"robot":…,"text":…}. */
extern void robot_show(Buf *out);

extern void robot_reset(void);

#endif
