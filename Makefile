# Tally. One makefile for the whole tree; `make help` lists what it does.
#
#   make [VARIANT=release|debug|asan|tsan|cov] [CC=gcc|clang] [WERROR=1] [V=1]
#
# Everything that is made goes to build/<variant>[-clang]. Sources are found
# by their place (crdt/*.c is in libtally_crdt.a, tests/wire/test_*.c is one
# program each, and so on), so a new file needs no line here. Includes are
# written from the root, which is the only include path of the project.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

# ---------------------------------------------------------------- settings

VARIANT ?= release
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
SBINDIR ?= $(PREFIX)/sbin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include/tally
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/tally
INSTALL ?= install
PKG_CONFIG ?= pkg-config
CLANG_TIDY ?= clang-tidy
OBJCOPY ?= objcopy
# How many states of a function the path-sensitive checks look at; clang's own default is 225000, which takes four times as long.
TIDY_STATES ?= $(if $(TALLY_LONG),225000,50000)
FUZZ_SECONDS ?= 30

ifeq ($(origin CC),default)
CC := gcc
endif
ifneq ($(filter true 1 yes,$(CI)),)
WERROR := 1
endif

VARIANTS := release debug asan tsan cov fuzz
ifeq ($(filter $(VARIANT),$(VARIANTS)),)
$(error VARIANT is one of $(VARIANTS), not '$(VARIANT)')
endif

CC_VERSION := $(shell $(CC) --version 2>&1 | head -n 1)
CLANG := $(if $(findstring clang,$(CC_VERSION)),-clang)
B := build/$(VARIANT)$(CLANG)
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $1 $2)

# ---------------------------------------------------------------- packages
# Each layer's own list; a layer is compiled and its tests are linked with
# what it may use and with nothing else.

MSGPACK := $(shell $(PKG_CONFIG) --exists msgpack-c 2>/dev/null && echo msgpack-c || echo msgpack)
PKG_crdt := libxxhash
PKG_wire := $(PKG_crdt) $(MSGPACK) liblz4
PKG_engine := $(PKG_wire)
PKG_shell := $(PKG_engine) libevent_core libevent_extra libcares yaml-0.1 json-c libnghttp2 libssl libcrypto libbsd-overlay
PKG_ctl := $(PKG_wire) json-c libcurl libbsd-overlay
PKG_link := libevent_core
PKG_build := $(sort $(PKG_shell) $(PKG_ctl) $(PKG_link))
PKG_test := cmocka json-c libbsd-overlay
PKG_all := $(sort $(PKG_build) $(PKG_test))

ABSENT := $(shell for p in $(PKG_all); do $(PKG_CONFIG) --exists $$p 2>/dev/null || echo $$p; done)
# The headers of packages are not ours to warn about, hence -isystem.
pkg_cflags = $(patsubst -I%,-isystem %,$(shell $(PKG_CONFIG) --cflags $(filter-out $(ABSENT),$1) 2>/dev/null))
pkg_libs = $(shell $(PKG_CONFIG) --libs $(filter-out $(ABSENT),$1) 2>/dev/null)
# $(call require,SET,PACKAGES) stands in a recipe: it ends the build, with what to do, when one is absent.
require = $(if $(filter $(ABSENT),$2),$(error not found by $(PKG_CONFIG): $(filter $(ABSENT),$2). Run: tools/bootstrap $1))

# ---------------------------------------------------------------- flags

WARNINGS := -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow \
    -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wvla \
    -Wcast-qual -Wcast-align -Wwrite-strings -Wpointer-arith -Wformat=2 \
    -Wundef -Wimplicit-fallthrough -Wunused -Wfloat-equal
ifeq ($(CLANG),)
WARNINGS += -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Walloca
# Needs the optimizer to see, and sees ghosts through a sanitizer's code.
WARNINGS += $(if $(filter release,$(VARIANT)),-Wnull-dereference)
else
WARNINGS += -Wcomma -Wconditional-uninitialized -Wunreachable-code-break
endif

SANITIZE_asan := -fsanitize=address,undefined -fno-sanitize-recover=all
SANITIZE_tsan := -fsanitize=thread
SANITIZE_fuzz := $(SANITIZE_asan) -fsanitize=fuzzer-no-link
SANITIZE := $(SANITIZE_$(VARIANT))
# Two words that were just written one by one are not read as one vector: a processor waits until both have left for memory.
OPT_release := -O2 -g $(if $(CLANG),-fno-slp-vectorize,-fno-tree-slp-vectorize)
OPT_debug := -O0 -g3
OPT_asan := -O1 -g -fno-omit-frame-pointer
OPT_tsan := $(OPT_asan)
OPT_fuzz := $(OPT_asan)
OPT_cov := -O0 -g --coverage -fprofile-update=atomic $(if $(CLANG),,-fprofile-abs-path)

try = $(shell echo 'int x;' | $(CC) -Werror $1 -x c -c -o /dev/null - 2>/dev/null && echo $1)
HARDEN := -fPIE -fstack-protector-strong $(call try,-fstack-clash-protection) $(call try,-fcf-protection) \
    $(if $(filter release,$(VARIANT)),-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)

COMMON := $(OPT_$(VARIANT)) $(SANITIZE) $(HARDEN) $(WARNINGS)
LINK := $(OPT_$(VARIANT)) $(SANITIZE) -pie -Wl,-z,relro,-z,now -Wl,--as-needed

# The pure layers see the standard and their packages; the rest sees the system.
PURE := -std=c11 -I.
HOSTED := -std=c11 -D_GNU_SOURCE -pthread -I.
FLAGS_crdt := $(PURE) $(call pkg_cflags,$(PKG_crdt))
FLAGS_wire := $(PURE) $(call pkg_cflags,$(PKG_wire))
FLAGS_engine := $(PURE) $(call pkg_cflags,$(PKG_engine))
FLAGS_shell := $(HOSTED) $(call pkg_cflags,$(PKG_shell))
# It goes into a shared object too, and is the one part of that which names data of libc (stderr).
FLAGS_library := $(FLAGS_shell) -fPIC
FLAGS_top := $(HOSTED) $(call pkg_cflags,$(PKG_all))
# A test is handed a state that most have no use for, and libFuzzer's entry has no header.
FLAGS_tests := $(FLAGS_top) -Wno-unused-parameter
FLAGS_fuzz := $(FLAGS_top) -Wno-missing-prototypes

layer_of = $(or $(if $(filter crdt/%,$1),crdt),$(if $(filter wire/%,$1),wire),$(if \
    $(filter service/engine/%,$1),engine),$(if $(filter service/shell/%,$1),shell)$(if $(filter service/library/%,$1),library),$(if \
    $(filter tests/fuzz/%,$1),fuzz),$(if $(filter tests/%,$1),tests),top)
flags_of = $(FLAGS_$(call layer_of,$1))

LIBS_crdt := $(call pkg_libs,$(PKG_crdt))
LIBS_wire := $(call pkg_libs,$(PKG_wire))
LIBS_engine := $(call pkg_libs,$(PKG_engine))
LIBS_shell := $(call pkg_libs,$(PKG_shell)) -lm -pthread
LIBS_library := $(LIBS_shell)
LIBS_static = $(shell $(PKG_CONFIG) --static --libs $(PKG_shell)) -lm -pthread
LIBS_ctl := $(call pkg_libs,$(PKG_ctl))
LIBS_tools := $(call pkg_libs,$(PKG_link))
LIBS_test := $(call pkg_libs,$(PKG_test))

# ---------------------------------------------------------------- what there is

sources = $(wildcard $1/*.c $1/*/*.c)
objects = $(patsubst %.c,$(B)/%.o,$1)
programs = $(patsubst %.c,$(B)/%,$1)

SRC_crdt := $(call sources,crdt)
SRC_wire := $(call sources,wire)
SRC_engine := $(call sources,service/engine)
SRC_main := $(wildcard service/shell/main.c)
SRC_shell := $(filter-out $(SRC_main),$(call sources,service/shell))
SRC_library := $(call sources,service/library)
SRC_ctl := $(wildcard tools/tallyctl*.c)
SRC_linkmain := $(wildcard tools/link/main.c)
SRC_link := $(filter-out $(SRC_linkmain),$(wildcard tools/link/*.c))
SRC_support := $(wildcard tests/support/*.c)
SRC_preload := $(wildcard tests/e2e/*.c)
SRC_replay := $(wildcard tests/fuzz/replay_main.c)
SRC_fuzz := $(wildcard tests/fuzz/fuzz_*.c)
SRC_sim := $(wildcard tests/sim/*.c)
SRC_codec := $(wildcard tests/codec/*.c)
SRC_bench_support := $(wildcard bench/support*.c)
SRC_bench := $(filter-out $(SRC_bench_support),$(wildcard bench/*.c))

TEST_LAYERS := crdt wire engine shell library tools
$(foreach l,$(TEST_LAYERS),\
    $(eval SRC_test_$l := $(wildcard tests/$l/test_*.c))\
    $(eval SRC_helpers_$l := $(filter-out $(SRC_test_$l),$(wildcard tests/$l/*.c))))
SRC_tests := $(foreach l,$(TEST_LAYERS),$(SRC_test_$l))
SRC_helpers := $(foreach l,$(TEST_LAYERS),$(SRC_helpers_$l))

SOURCES := $(SRC_crdt) $(SRC_wire) $(SRC_engine) $(SRC_shell) $(SRC_library) $(SRC_main) $(SRC_ctl) $(SRC_link) $(SRC_linkmain) $(SRC_support) \
    $(SRC_helpers) $(SRC_tests) $(SRC_preload) $(SRC_replay) $(SRC_fuzz) $(SRC_sim) $(SRC_codec) $(SRC_bench_support) $(SRC_bench)
OBJECTS := $(call objects,$(SOURCES))

LIB_crdt := $(B)/libtally_crdt.a
LIB_wire := $(B)/libtally_wire.a
LIB_engine := $(B)/libtally_engine.a
LIB_shell := $(B)/libtally_shell.a
# What programs link with: one object with the names of its header alone, and the same as a shared object.
LIB_tally := $(B)/libtally.a
# A sanitizer's objects cannot be shared.
SO_MAJOR := 0
SO_tally := $(if $(filter release debug,$(VARIANT)),$(B)/libtally.so.$(SO_MAJOR))
LIBRARIES := $(LIB_crdt) $(LIB_wire) $(LIB_engine) $(LIB_shell)
# A layer's library and those below it, in the order the linker reads them.
STACK_crdt := $(LIB_crdt)
STACK_wire := $(LIB_wire) $(STACK_crdt)
STACK_engine := $(LIB_engine) $(STACK_wire)
STACK_shell := $(LIB_shell) $(STACK_engine)
STACK_library := $(LIB_tally)
STACK_tools := $(B)/tools/link.a

TESTS := $(call programs,$(SRC_tests))
FUZZERS := $(call programs,$(SRC_fuzz))
BENCHES := $(call programs,$(SRC_bench))
BINARIES := $(if $(SRC_main),$(B)/tallyd) $(if $(SRC_ctl),$(B)/tallyctl) $(if $(SRC_linkmain),$(B)/tally-link)
CODEC := $(B)/tests/codec/codec
PRELOADS := $(patsubst %.c,$(B)/%.so,$(SRC_preload))
TIDIED := $(patsubst %.c,$(B)/%.tidy,$(SOURCES))

# ---------------------------------------------------------------- how it is made

.PHONY: all libs tests scenes fuzzers bench-programs FORCE
all: libs $(BINARIES) $(LIB_tally) $(SO_tally) ## the libraries, tallyd, tallyctl and tally-link (the default)
libs: $(LIBRARIES) ## the libraries alone
tests: all $(TESTS) $(FUZZERS) $(B)/tallysim ## all, and the test programs
scenes: all $(PRELOADS) $(CODEC) ## all, and what scenes load into it, or run beside it
fuzzers: $(FUZZERS)
bench-programs: all $(BENCHES)

# Two stamps change only with what they hold. The first holds the compiler and
# its flags, and every object depends on it; -Werror is on a line of its own,
# because what was compiled with it is as good without it, but not the reverse.
quoted = '$(subst ','\'',$1)'
$(B)/flags: FORCE
	@$(call require,build,$(PKG_build))mkdir -p $(@D)
	@printf '%s\n' $(call quoted,$(CC) $(CC_VERSION) $(COMMON) $(CPPFLAGS) $(CFLAGS)) \
	    $(call quoted,$(foreach l,crdt wire engine shell library tests fuzz top,$(FLAGS_$l))) >$@.new
	@if [ -f $@ ] && head -n 2 $@ | cmp -s - $@.new && { [ -z '$(WERROR)' ] || grep -q '^werror$$' $@; }; \
	    then rm -f $@.new; else $(if $(WERROR),echo werror >>$@.new;) mv $@.new $@; fi

# The second kind holds the members of an archive: a removed source makes a new archive.
$(B)/%.members: FORCE
	@mkdir -p $(@D); printf '%s\n' '$(MEMBERS)' | cmp -s - $@ || printf '%s\n' '$(MEMBERS)' >$@

$(OBJECTS): $(B)/%.o: %.c $(B)/flags
	@$(if $(filter tests/%,$<),$(call require,test,$(PKG_test)))mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(COMMON) $(if $(WERROR),-Werror) $(call flags_of,$<) $(CPPFLAGS) $(CFLAGS) \
	    -MMD -MP -MF $(@:.o=.d) -MT $@ -c -o $@ $<

# $(call archive,FILE,OBJECTS)
define archive
$(1:.a=.members): MEMBERS := $2
$1: $2 $(1:.a=.members) | $(B)/flags
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && ar rcsD $$@ $2
endef
$(eval $(call archive,$(LIB_crdt),$(call objects,$(SRC_crdt))))
$(eval $(call archive,$(LIB_wire),$(call objects,$(SRC_wire))))
$(eval $(call archive,$(LIB_engine),$(call objects,$(SRC_engine))))
$(eval $(call archive,$(LIB_shell),$(call objects,$(SRC_shell))))
$(eval $(call archive,$(B)/tools/link.a,$(call objects,$(SRC_link))))
$(eval $(call archive,$(B)/tests/support.a,$(call objects,$(SRC_support))))
$(eval $(call archive,$(B)/bench/support.a,$(call objects,$(SRC_bench_support))))
$(foreach l,$(TEST_LAYERS),$(eval $(call archive,$(B)/tests/$l/helpers.a,$(call objects,$(SRC_helpers_$l)))))

$(LIB_tally): $(call objects,$(SRC_library)) $(STACK_shell)
	$(call say,AR,$@)
	$(Q)$(CC) -r -nostdlib -o $(@:.a=.o) $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group
	$(Q)$(OBJCOPY) -w --keep-global-symbol='tally_*' $(@:.a=.o) && rm -f $@ && ar rcsD $@ $(@:.a=.o)

$(B)/libtally.so.$(SO_MAJOR): $(call objects,$(SRC_library)) $(STACK_shell) service/library/exports
	$(call say,LINK,$@)
	$(Q)$(CC) -shared $(OPT_$(VARIANT)) -Wl,-z,relro,-z,now,-z,defs,-z,text -Wl,--as-needed -Wl,-soname,$(@F) \
	    -Wl,--version-script=service/library/exports $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS_shell)

define link
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $1
endef

$(B)/tallyd: $(call objects,$(SRC_main)) $(STACK_shell)
	$(call link,$(LIBS_shell))

$(B)/tallyctl: $(call objects,$(SRC_ctl)) $(STACK_shell)
	$(call link,$(LIBS_shell) $(LIBS_ctl))

$(B)/tally-link: $(call objects,$(SRC_linkmain)) $(STACK_tools)
	$(call link,$(LIBS_tools))

# $(call test_rule,LAYER): its tests see the helpers of the layer, those of all, and the layers up to it.
define test_rule
$(call programs,$(SRC_test_$1)): $(B)/%: $(B)/%.o $(B)/tests/$1/helpers.a $(B)/tests/support.a $(STACK_$1)
	$$(call link,$$(LIBS_test) $$(LIBS_$1))
endef
$(foreach l,$(TEST_LAYERS),$(eval $(call test_rule,$l)))

$(B)/tallysim: $(call objects,$(SRC_sim)) $(B)/tests/shell/helpers.a $(B)/tests/support.a $(STACK_shell)
	$(call link,$(LIBS_test) $(LIBS_shell))

# A fuzz target is a plain program that replays files, or under VARIANT=fuzz one that looks for new ones.
ifeq ($(VARIANT),fuzz)
$(FUZZERS): LINK += -fsanitize=fuzzer
$(FUZZERS): $(B)/%: $(B)/%.o $(STACK_shell)
else
$(FUZZERS): $(B)/%: $(B)/%.o $(call objects,$(SRC_replay)) $(STACK_shell)
endif
	$(call link,$(LIBS_shell))

# One of them runs whole clusters in virtual time, which is what the tests of the engine have.
VIRTUAL := $(B)/bench/overshoot
# Another has the library as a program would that links it: of libtally.a only its own names are seen.
$(B)/bench/bench_lib: $(LIB_tally)
$(filter-out $(VIRTUAL),$(BENCHES)): $(B)/%: $(B)/%.o $(B)/bench/support.a $(STACK_shell)
	$(call link,$(LIBS_shell) $(LIBS_ctl))
$(VIRTUAL): $(B)/%: $(B)/%.o $(B)/bench/support.a $(B)/tests/engine/helpers.a $(B)/tests/support.a $(STACK_shell)
	$(call link,$(LIBS_test) $(LIBS_shell))

$(CODEC): $(B)/%: $(B)/%.o $(STACK_shell)
	$(call link,$(LIBS_shell))

# Loaded into a program that is tested, whatever that was made with.
$(PRELOADS): $(B)/%.so: %.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -O2 -fPIC -shared $(WARNINGS) $(if $(WERROR),-Werror) $(call flags_of,$<) -o $@ $<

# A file is tidied again when its object was made again: it, a header of it, or the flags changed.
.PHONY: tidy
tidy: $(TIDIED)
$(TIDIED): $(B)/%.tidy: %.c $(B)/%.o .clang-tidy $(wildcard tests/.clang-tidy)
	$(call say,TIDY,$<)
	$(Q)if $(CLANG_TIDY) --quiet --warnings-as-errors='*' $< -- $(call flags_of,$<) \
	    -Xclang -analyzer-config -Xclang max-nodes=$(TIDY_STATES) >$@.log 2>&1; \
	    then mv $@.log $@; else grep -v ' warnings generated' $@.log; exit 1; fi

-include $(OBJECTS:.o=.d)

# ---------------------------------------------------------------- to use it

BENCH_EACH := bench-core bench-check bench-instructions bench-memory bench-store bench-wire bench-resp bench-tail bench-http bench-lib bench-thinlink \
    bench-overshoot bench-grpc
.PHONY: run bench $(BENCH_EACH) help clean install uninstall
run: ## install what building needs, build, and start a node (RUN_ARGS='-o resp=…')
	@tools/bootstrap build
	@$(MAKE) --no-print-directory VARIANT=release all
	@exec tools/run build/release$(CLANG) $(RUN_ARGS)

# bench/README.md tells what each measures.
bench: ## measure everything, beside redis where there is a rival (BENCH_ARGS: names)
bench-core: ## puts, merges, reads, snapshots, at 10k to 10M keys
bench-check: ## checks in process, at 10k to 10M keys
bench-instructions: ## instructions per operation, against those recorded
bench-memory: ## memory per counter, beside a redis-server
bench-store: ## acknowledged writes beside the disk, checks beside a snapshot, recovery
bench-wire: ## bytes between nodes: of the codec beside others', and of two real nodes
bench-resp: ## the RESP door, beside a redis-server
bench-http: ## the check path of the HTTP door, beside nginx
bench-tail: ## how late the latest checks are at half load, quiet and disturbed
bench-lib: ## checks through libtally, in process, at 10k to 10M keys
bench-grpc: ## the gRPC door, beside nghttpd and nginx, under h2load
bench-overshoot: ## by how much a limit is passed over several nodes, beside what is published, in virtual time
bench-thinlink: ## two nodes over 256 kbit/s and 100 ms
bench $(BENCH_EACH):
	@tools/bootstrap bench
	@$(MAKE) --no-print-directory VARIANT=release bench-programs
	@exec bench/run build/release$(CLANG) $(patsubst bench-%,%,$(filter-out bench,$@)) $(BENCH_ARGS)

help: ## this list
	@echo 'make TARGET [VARIANT=release|debug|asan|tsan|cov] [CC=gcc|clang] [WERROR=1] [V=1]'
	@echo 'make FAULT=NAME: tests/faults/NAME.patch planted, and the tests that must fail then, in build/fault/NAME'
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

clean: ## remove build/
	rm -rf build

# ---------------------------------------------------------------- to check it
# tools/check builds what it is asked to check, runs it, prints a line for each
# thing and ends with the counts.

SIM_SECONDS ?= 600
COVERAGE_SECONDS ?= 60
HARD_SEEDS ?= 10000
HARD_PIECE ?= 250
CHECK_STORE := check-kill-points check-power-cuts check-damage check-fault-matrix check-contract check-restarts
.PHONY: check-sim check-sim-alike coverage-sim check-mutants check-guards soak check check-unit check-asan check-e2e check-fuzz check-model check-laws check-hard check-memory check-kills check-store $(CHECK_STORE) check-hole check-idle check-joiner check-codec check-long lint format fuzz coverage
CHECK = +@CC='$(CC)' MAKE='$(MAKE)' tools/check
check: ## everything that must pass: unit, corpora, models, the simulator's seeds, some planted faults, e2e (release and asan), lint
	@tools/bootstrap test
	$(CHECK) -v 'release$(CLANG) asan$(CLANG)' unit corpora models sim e2e laws lint

check-unit: ## unit tests of this VARIANT
	$(CHECK) -v '$(VARIANT)$(CLANG)' unit

check-asan: ## unit tests, corpora and scenes under ASan and UBSan
	$(CHECK) -v 'asan$(CLANG)' unit corpora e2e

check-e2e: ## scenes with the real binaries of this VARIANT
	$(CHECK) -v '$(VARIANT)$(CLANG)' e2e

# What a store promises (DESIGN.md, Disk), each by itself with what it found; all of them are among the programs and scenes of check.
check-kill-points: PROGRAMS = test_store_matrix test_store_faults test_store_snapshot
check-power-cuts: PROGRAMS = test_store_disk
check-damage: PROGRAMS = test_store_damage test_store_disk test_store_snapshot test_manifest_trials
check-fault-matrix: PROGRAMS = test_store_matrix
check-contract: PROGRAMS = test_storage test_storage_races test_store_taken
check-damage: SCENES = 41
check-restarts: PROGRAMS = test_store
check-restarts: SCENES = 10 29
check-store: ## those of the store, one by one, with what they print
	@set -e; for each in $(CHECK_STORE); do $(MAKE) --no-print-directory $$each; done
check-kill-points: ## a writer dies at each of its changes, and the power with it: how many, and what is there then
check-power-cuts: ## 500 and more power cuts: what is lost under always, interval and never
check-damage: ## every file cut at every byte, and every byte flipped
check-fault-matrix: ## a table: operation, failure and writer, and what comes of it
check-contract: ## what each backend of the storage interface has to do, and processes that race
check-restarts: ## 200 starts in one process; two signals at once; who goes on with a life
$(CHECK_STORE):
	@tools/bootstrap test
	@$(MAKE) --no-print-directory $(if $(SCENES),scenes) $(PROGRAMS:%=$(B)/tests/shell/%)
	@set -e; for program in $(PROGRAMS); do $(B)/tests/shell/$$program; done
	$(if $(SCENES),@TALLY_DAMAGE_EVERY=1 TALLY_SCENE_S=3600 tests/e2e/run $(B) $(SCENES))

check-kills: ## 200 kills under load in a cluster of three, each time with the wall clock set back (minutes)
	@tools/bootstrap test
	@$(MAKE) --no-print-directory VARIANT=release scenes
	@TALLY_KILLS=200 TALLY_SCENE_S=3600 tests/e2e/run build/release$(CLANG) 44

# 512 MiB are 54 bytes for each of ten million keys: key, cell and slot do not fit into that, so the ceiling is always met.
check-memory: ## a node at memory_max under 10M distinct keys, its memory measured (minutes)
	@tools/bootstrap test
	@$(MAKE) --no-print-directory VARIANT=release all
	@TALLY_MEMORY_KEYS=10000000 TALLY_MEMORY_MB=512 TALLY_SCENE_S=1200 tests/e2e/run build/release$(CLANG) 19

check-hole: ## a peer that hears nothing for a minute at 50,000 writes/s, another stopped for two (minutes)
	@tools/bootstrap test
	@$(MAKE) --no-print-directory VARIANT=release all
	@TALLY_HOLE_S=60 TALLY_SCENE_S=600 tests/e2e/run build/release$(CLANG) 60
	@TALLY_FREEZE_S=120 TALLY_SCENE_S=600 tests/e2e/run build/release$(CLANG) 61

check-idle: ## 10,000 idle connections at each door, and what each costs
	@tools/bootstrap test
	@$(MAKE) --no-print-directory VARIANT=release all
	@TALLY_IDLE=10000 TALLY_SCENE_S=600 tests/e2e/run build/release$(CLANG) 58

check-joiner: ## a snapshot of a million keys under 10,000 writes/s, its link cut twice (minutes)
	@tools/bootstrap test
	@$(MAKE) --no-print-directory VARIANT=release all
	@TALLY_JOINER_KEYS=1000000 TALLY_SCENE_S=600 tests/e2e/run build/release$(CLANG) 62

check-codec: ## our protobuf and a real one on a million messages, half of them damaged (minutes)
	@tools/bootstrap test
	@$(MAKE) --no-print-directory VARIANT=release scenes
	@tests/codec/compare build/release$(CLANG)/tests/codec/codec 1000000

check-fuzz: ## replay the fuzz corpora with this VARIANT
	$(CHECK) -v '$(VARIANT)$(CLANG)' corpora

check-model: ## search the models of the design, and controls that must fail, with spin
	@tools/bootstrap test
	@tests/model/check all

check-long: check-kills check-guards ## check-kills, and check's tests with longer laws (TALLY_LONG=1), and under TSan and clang too
	@tools/bootstrap test
	+@TALLY_LONG=1 CC='$(CC)' MAKE='$(MAKE)' tools/check \
	    -v 'release asan tsan release-clang asan-clang' unit corpora models e2e lint

check-sim: ## live through bad days on every core for SIM_SECONDS (600), new seeds each time, and report, with what COVERAGE_SECONDS (60) of them come through
	@tools/bootstrap test
	@$(MAKE) --no-print-directory VARIANT=release build/release$(CLANG)/tallysim
	@tests/sim/run build/release$(CLANG) seeds
	@tests/sim/run build/release$(CLANG) campaign $(SIM_SECONDS)
	@tests/sim/run build/release$(CLANG) speed
	@$(MAKE) --no-print-directory coverage-sim SIM_SECONDS=$(COVERAGE_SECONDS)

check-sim-alike: ## the simulator's seeds take the same course in builds by gcc and by clang
	@tools/bootstrap test
	@$(MAKE) --no-print-directory VARIANT=release CC=gcc build/release/tallysim
	@$(MAKE) --no-print-directory VARIANT=release CC=clang build/release-clang/tallysim
	@tests/sim/run build/release alike build/release-clang

coverage-sim: ## what a campaign of SIM_SECONDS (600) comes through of crdt/, wire/ and service/engine/
	@tools/bootstrap test
	@find build/cov -name '*.gcda' -delete 2>/dev/null || true
	@$(MAKE) --no-print-directory VARIANT=cov CC=gcc build/cov/tallysim
	@tests/sim/run build/cov campaign $(SIM_SECONDS)
	@tools/coverage build/cov

soak: ## check-sim for eight hours
	@$(MAKE) --no-print-directory check-sim SIM_SECONDS=28800

check-mutants: ## plant each fault that the simulator must find, and say which seed finds it
	@tools/bootstrap test
	@CC='$(CC)' MAKE='$(MAKE)' tools/faults sim

check-guards: ## take away each guard that a test must miss: a length's cap, a checksum, a sync, an approval, …
	@tools/bootstrap test
	@CC='$(CC)' MAKE='$(MAKE)' tools/faults guards

check-hard: ## ten thousand ways to break a hard limit: cuts, falls, lost disks, joins, clocks (HARD_SEEDS)
	@tools/bootstrap test
	@$(MAKE) --no-print-directory VARIANT=release build/release/tests/engine/test_hard_random
	@seq 1 $(HARD_PIECE) $(HARD_SEEDS) | TALLY_SEEDS=$(HARD_PIECE) xargs -P "$$(nproc)" -I FIRST \
	    env TALLY_SEED=FIRST build/release/tests/engine/test_hard_random

check-laws: ## every small history and a million random ones per strategy; each planted fault must break its laws
	@tools/bootstrap test
	@CC='$(CC)' MAKE='$(MAKE)' tools/laws full

# make FAULT=NAME: the model with tests/faults/NAME.patch in it, and the tests that must fail then, in build/fault/NAME.
ifdef FAULT
.DEFAULT_GOAL := fault
.PHONY: fault
fault:
	@CC='$(CC)' MAKE='$(MAKE)' tools/faults build '$(FAULT)'
endif

lint: ## layers, symbols, format, clang-tidy, cppcheck, shellcheck, manual pages
	$(CHECK) -v 'release$(CLANG)' lint

format: ## rewrite every source file in the project's format
	@. tools/lint/files && sources | xargs clang-format -i

fuzz: ## look for new inputs, FUZZ_SECONDS (30) for each target, or for those of FUZZ_NAMES ("resp http")
	@tools/bootstrap test
	@$(MAKE) --no-print-directory VARIANT=fuzz CC=clang fuzzers
	@tools/fuzz build/fuzz-clang $(FUZZ_SECONDS) $(FUZZ_NAMES)

coverage: ## unit tests and corpora with gcov; a table of lines covered
	@tools/bootstrap test
	@find build/cov -name '*.gcda' -delete 2>/dev/null || true
	+@CC=gcc MAKE='$(MAKE)' tools/check -v cov unit corpora
	@tools/coverage build/cov

# ---------------------------------------------------------------- to install it

PUBLIC := $(filter-out %_internal.h,$(wildcard crdt/*.h wire/*.h service/engine/*.h))
MANUALS := $(wildcard man/*.[1-8])
DOCS := $(wildcard LICENSE README.md PROTOCOL.md CHANGES.md DESIGN.md LAWS.md)
EXAMPLES := $(sort $(shell find tools/examples -type f))
manual_dir = $(MANDIR)/man$(subst .,,$(suffix $1))
VERSION := $(shell sed -n 's/^\#define TLY_VERSION "\(.*\)"/\1/p' crdt/version.h)
INSTALLED := $(SBINDIR)/tallyd $(BINDIR)/tallyctl $(BINDIR)/tally-link \
    $(addprefix $(LIBDIR)/,$(notdir $(LIB_crdt) $(LIB_wire) $(LIB_engine))) \
    $(addprefix $(LIBDIR)/,libtally.a $(notdir $(SO_tally)) $(if $(SO_tally),libtally.so) pkgconfig/libtally.pc) \
    $(dir $(INCLUDEDIR))tally.h $(addprefix $(INCLUDEDIR)/,$(PUBLIC)) $(addprefix $(DOCDIR)/,$(DOCS)) \
    $(patsubst tools/%,$(DOCDIR)/%,$(EXAMPLES)) \
    $(foreach m,$(MANUALS),$(call manual_dir,$m)/$(notdir $m))

install: all ## under $(DESTDIR)$(PREFIX)
	$(INSTALL) -d $(sort $(dir $(addprefix $(DESTDIR),$(INSTALLED))))
	$(INSTALL) -m 755 $(B)/tallyd $(DESTDIR)$(SBINDIR)
	$(INSTALL) -m 755 $(B)/tallyctl $(B)/tally-link $(DESTDIR)$(BINDIR)
	$(INSTALL) -m 644 $(LIB_crdt) $(LIB_wire) $(LIB_engine) $(DESTDIR)$(LIBDIR)
	$(INSTALL) -m 644 $(LIB_tally) $(DESTDIR)$(LIBDIR)
	$(if $(SO_tally),$(INSTALL) -m 644 $(SO_tally) $(DESTDIR)$(LIBDIR) && ln -sf $(notdir $(SO_tally)) $(DESTDIR)$(LIBDIR)/libtally.so)
	$(INSTALL) -m 644 service/library/tally.h $(DESTDIR)$(dir $(INCLUDEDIR))
	sed -e 's,@PREFIX@,$(PREFIX),; s,@LIBDIR@,$(LIBDIR),; s,@INCLUDEDIR@,$(patsubst %/,%,$(dir $(INCLUDEDIR))),' \
	    -e 's,@VERSION@,$(VERSION),; s|@LIBS@|$(LIBS_static)|' service/library/libtally.pc.in \
	    >$(DESTDIR)$(LIBDIR)/pkgconfig/libtally.pc
	$(foreach h,$(PUBLIC),$(INSTALL) -m 644 $h $(DESTDIR)$(INCLUDEDIR)/$h &&) :
	$(foreach m,$(MANUALS),$(INSTALL) -m 644 $m $(DESTDIR)$(call manual_dir,$m) &&) :
	$(INSTALL) -m 644 $(DOCS) $(DESTDIR)$(DOCDIR)
	$(foreach e,$(EXAMPLES),$(INSTALL) -m 644 $e $(DESTDIR)$(patsubst tools/%,$(DOCDIR)/%,$e) &&) :

uninstall: ## remove what install put there
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	-find $(DESTDIR)$(DOCDIR) -depth -type d -empty -delete
	-rmdir $(addprefix $(DESTDIR)$(INCLUDEDIR)/,$(sort $(dir $(PUBLIC)))) \
	    $(DESTDIR)$(INCLUDEDIR)/service $(DESTDIR)$(INCLUDEDIR)
