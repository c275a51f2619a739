/* MQTT 3.1, 3.1.1 and 5.0: bytes to structs and back. libc only: no allocation, no I/O, no
 * clock, no log, no globals. Decoders take untrusted bytes and return a reason code;
 * R_OK means every rule that can be checked without state has been checked.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PROTO_H
#define CADDIS_PROTO_H

#include "proto/ack.h"
#include "proto/connect.h"
#include "proto/frame.h"
#include "proto/misc.h"
#include "proto/props.h"
#include "proto/publish.h"
#include "proto/reader.h"
#include "proto/reason.h"
#include "proto/subscribe.h"
#include "proto/tables.h"
#include "proto/topic.h"
#include "proto/utf8.h"
#include "proto/writer.h"

#endif
