// No include guard: checked wherever it is included, last in every header of core/, json/, http/,
// stripe/ and sync/. These layers build and run without a server; only what includes
// pg/postgres.hpp may see both.
#if defined(POSTGRES_H) && !defined(STRIPE_SYNC_POSTGRES_SIDE)
#error "the core must not see postgres.h"
#endif
