#include "pg/boundary.hpp"

#include <cstring>
#include <new>

extern "C" {
#include "mb/pg_wchar.h"
#include "pgstat.h"
#include "utils/snapmgr.h"
}

namespace stripe_sync::pg {

namespace {

/// An error as plain bytes: what crosses from a C++ handler to ereport.
struct PlainError {
  int sqlstate;
  char message[2048];
  char detail[2048];
  char hint[512];
};

// Bounded and cut between characters; calls nothing that can fail.
void copy_text(char* to, std::size_t size, const char* from, std::size_t length) noexcept {
  if (length >= size) {
    length = pg_mbcliplen(from, static_cast<int>(length), static_cast<int>(size - 1));
  }
  std::memcpy(to, from, length);
  to[length] = '\0';
}

void copy_text(char* to, std::size_t size, const char* from) noexcept {
  copy_text(to, size, from, std::strlen(from));
}

void fill(PlainError& plain, const Error& error) noexcept {
  plain.sqlstate = error.sqlstate;
  copy_text(plain.message, sizeof plain.message, error.message.data(), error.message.size());
  copy_text(plain.detail, sizeof plain.detail, error.detail.data(), error.detail.size());
  copy_text(plain.hint, sizeof plain.hint, error.hint.data(), error.hint.size());
}

void fill(PlainError& plain, int code, const char* message) noexcept {
  plain.sqlstate = code;
  copy_text(plain.message, sizeof plain.message, message);
  plain.detail[0] = plain.hint[0] = '\0';
}

// What every handler does with what it caught; redaction happens where texts are made.
template <class Run>
bool caught(PlainError& plain, const Run& run) noexcept {
  try {
    run();
    return false;
  } catch (const Error& error) {
    fill(plain, error);
  } catch (const std::bad_alloc&) {
    fill(plain, errcode::out_of_memory, "out of memory");
  } catch (const std::exception& error) {
    fill(plain, errcode::internal, error.what());
  } catch (...) {
    fill(plain, errcode::internal, "unknown error in stripe_sync");
  }
  return true;
}

[[noreturn]] void report(const PlainError& plain) {
  ereport(ERROR, (::errcode(plain.sqlstate), errmsg_internal("%s", plain.message),
                  plain.detail[0] != '\0' ? errdetail_internal("%s", plain.detail) : 0,
                  plain.hint[0] != '\0' ? errhint("%s", plain.hint) : 0));
}

// Copying pallocs, so it can fail itself; that must not jump past the C++ frames above us. The copy
// lies in a context of its own: newer minor versions copy strings that FreeErrorData leaves behind.
ErrorData* copy_error(MemoryContext memory, MemoryContext* scratch) {
  const ErrorStacks stacks;
  ErrorData* volatile copy = nullptr;
  *scratch = nullptr;
  sigjmp_buf here;
  if (sigsetjmp(here, 0) == 0) {
    PG_exception_stack = &here;
    *scratch = AllocSetContextCreate(memory, "stripe_sync error", ALLOCSET_SMALL_SIZES);
    MemoryContextSwitchTo(*scratch);
    copy = CopyErrorData();
  } else {
    copy = nullptr;
  }
  stacks.restore();
  MemoryContextSwitchTo(memory);
  FlushErrorState();
  return copy;
}

std::string text_or_empty(const char* text) {
  return text == nullptr ? std::string() : text;
}

}  // namespace

void throw_pg_error(MemoryContext memory) {
  MemoryContext scratch;
  const ErrorData* data = copy_error(memory, &scratch);
  if (data == nullptr) {
    if (scratch != nullptr) MemoryContextDelete(scratch);
    Error lost(errcode::out_of_memory, "out of memory (error details lost)");
    lost.from_pg = true;
    throw lost;
  }
  Error error(data->sqlerrcode, text_or_empty(data->message), text_or_empty(data->detail),
              text_or_empty(data->hint));
  error.from_pg = true;
  MemoryContextDelete(scratch);
  throw error;
}

Datum pg_entry(FunctionCallInfo fcinfo, Datum (*body)(FunctionCallInfo)) {
  PlainError plain;
  Datum result = 0;
  if (caught(plain, [&] { result = body(fcinfo); })) report(plain);
  return result;
}

void pg_worker_main(Datum argument, void (*body)(Datum)) {
  PlainError plain;
  if (caught(plain, [&] { body(argument); })) report(plain);
}

namespace detail {

void start_transaction() {
  pg_call([] {
    SetCurrentStatementStartTimestamp();
    StartTransactionCommand();
    PushActiveSnapshot(GetTransactionSnapshot());
    SPI_connect();
  });
}

void commit_transaction() {
  pg_call([] {
    SPI_finish();
    PopActiveSnapshot();
    CommitTransactionCommand();
    pgstat_report_stat(false);
  });
}

void abort_transaction() {
  pg_call([] { AbortCurrentTransaction(); });
}

Subtransaction start_subtransaction() {
  const Subtransaction before{CurrentMemoryContext, CurrentResourceOwner};
  const MemoryContext memory = before.memory;
  pg_call([memory] {
    BeginInternalSubTransaction(nullptr);
    MemoryContextSwitchTo(memory);
  });
  return before;
}

void commit_subtransaction(const Subtransaction& before) {
  const Subtransaction* b = &before;
  pg_call([b] {
    ReleaseCurrentSubTransaction();
    MemoryContextSwitchTo(b->memory);
    CurrentResourceOwner = b->owner;
  });
}

void abort_subtransaction(const Subtransaction& before) {
  const Subtransaction* b = &before;
  pg_call([b] {
    RollbackAndReleaseCurrentSubTransaction();
    MemoryContextSwitchTo(b->memory);
    CurrentResourceOwner = b->owner;
  });
}

}  // namespace detail
}  // namespace stripe_sync::pg
