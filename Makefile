# stripe_sync: a PGXS extension in C++.
#
#   make, make install    build and install the extension
#   make installcheck     SQL regression tests against a running server
#   make check-core       unit tests of the layers without PostgreSQL, under sanitizers
#   script/test           everything

EXTENSION = stripe_sync
MODULE_big = stripe_sync
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" stripe_sync.control)

# TESTING=1 builds the named fault points in; never for production.
TESTING ?= 0
# SANITIZE=1 builds for AddressSanitizer and UBSan; the server must then be started as by script/sanitize.
SANITIZE ?= 0

CORE_SRCS = $(sort $(wildcard src/core/*.cpp src/json/*.cpp src/http/*.cpp src/stripe/*.cpp src/sync/*.cpp))
PG_SRCS = $(sort $(wildcard src/stripe_sync.cpp src/pg/*.cpp src/sql/*.cpp src/worker/*.cpp))
OBJS = $(CORE_SRCS:.cpp=.o) $(PG_SRCS:.cpp=.o)

INSTALL_SQL = $(sort $(wildcard sql/install/*.sql))
DATA = $(wildcard sql/stripe_sync--*--*.sql)
DATA_built = sql/stripe_sync--$(EXTVERSION).sql
EXTRA_CLEAN = sql/stripe_sync--$(EXTVERSION).sql $(OBJS:.o=.d) build

REGRESS = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test --outputdir=.
ISOLATION = $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test --outputdir=.

# PGXS would build bitcode as C++14, and nothing here gains from inlining into queries.
override with_llvm := no
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# WERROR=-Werror makes warnings errors, as script/lint does. A newer compiler has new ones.
WERROR =
WARNINGS = -Wall -Wextra -Wshadow -Wclobbered -Wno-register $(WERROR)
CXX_COMMON = -std=c++20 -g $(WARNINGS) -Isrc -MMD -MP
override CXXFLAGS := $(filter-out -Wmissing-format-attribute,$(CXXFLAGS)) $(CXX_COMMON) \
	-fvisibility=hidden -fvisibility-inlines-hidden \
	-DSTRIPE_SYNC_VERSION='"$(EXTVERSION)"' -DSTRIPE_SYNC_TESTING=$(TESTING)
# Before PostgreSQL 16 the macro is empty, and hidden visibility would hide the entry points too.
override CPPFLAGS := -isystem $(shell $(PG_CONFIG) --includedir-server) \
	'-DPGDLLEXPORT=__attribute__((visibility("default")))' $(filter-out -I%,$(CPPFLAGS))
ifeq ($(SANITIZE),1)
override CXXFLAGS += -O1 -fsanitize=address,undefined -fno-omit-frame-pointer
SHLIB_LINK += -fsanitize=address,undefined
endif
SHLIB_LINK += -lcurl -ljansson -lstdc++ -Wl,--version-script=src/exports.map

-include $(OBJS:.o=.d)

sql/stripe_sync--$(EXTVERSION).sql: $(INSTALL_SQL)
	cat $^ > $@

# A build with other options is another build.
build/options: force
	@mkdir -p build
	@echo '$(EXTVERSION) $(TESTING) $(SANITIZE) $(PG_CONFIG)' | cmp -s - $@ || echo '$(EXTVERSION) $(TESTING) $(SANITIZE) $(PG_CONFIG)' > $@
$(OBJS): build/options
.PHONY: force

# --- unit tests: no PostgreSQL on the include path --------------------------------------------

UNIT_DIR ?= build/unit
UNIT_SRCS = $(CORE_SRCS) $(sort $(wildcard test/unit/*.cpp))
UNIT_OBJS = $(addprefix $(UNIT_DIR)/,$(UNIT_SRCS:.cpp=.o))
UNIT_FLAGS = -std=c++20 -g -O1 -Wall -Wextra -Wshadow $(WERROR) -Isrc -Itest/unit -MMD -MP \
	-D_GLIBCXX_ASSERTIONS -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

# Half the time goes into optimising tests.
$(UNIT_DIR)/test/%.o: UNIT_FLAGS += -O0

$(UNIT_DIR)/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(UNIT_FLAGS) -c -o $@ $<

$(UNIT_DIR)/stripe_sync_unit: $(UNIT_OBJS)
	$(CXX) $(UNIT_FLAGS) -o $@ $^ -lgtest -lgtest_main -lcurl -ljansson -lpthread

check-core: $(UNIT_DIR)/stripe_sync_unit
	$(UNIT_DIR)/stripe_sync_unit --gtest_brief=1

-include $(UNIT_OBJS:.o=.d)

.PHONY: check-core
