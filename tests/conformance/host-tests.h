/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

void add_protocol_tests(void); /* host-protocol.c */
void add_sandbox_tests(void);  /* host-sandbox.c */
void add_attach_tests(void);   /* host-attach.c */
