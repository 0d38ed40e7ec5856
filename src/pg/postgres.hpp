#pragma once
#define STRIPE_SYNC_POSTGRES_SIDE 1
// PostgreSQL's headers, as C, after everything else: include this last.

extern "C" {
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
}
