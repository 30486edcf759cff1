/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* tables — the lists that more than one verb prints. */

#include "ctl/bus.h"
#include "ctl/table.h"

/* Renders and prints. */
void tables_print(const struct ctl *ctl, const struct table *table);

/* struct bus_engine * */
void tables_print_engines(const struct ctl *ctl, GPtrArray *engines);
struct json_object *tables_engines_json(GPtrArray *engines);

/* struct bus_transfer * */
void tables_print_transfers(const struct ctl *ctl, GPtrArray *transfers);
struct json_object *tables_transfers_json(GPtrArray *transfers);
