# shellcheck shell=bash disable=SC2034
# Sourced by the scripts beside it: where things are, and who runs the server.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
jobs=$(nproc 2>/dev/null || echo 2)

die() {
  echo "$(basename "$0"): $1" >&2
  exit 1
}

# usable PG_CONFIG: that of PostgreSQL 15 or newer, with its server and its headers. Sets bindir,
# sharedir, pkglibdir, pgxs and major.
usable() {
  local about name value includedir_server=
  about=$("$1" 2>/dev/null) || return 1
  while IFS='=' read -r name value; do
    value=${value# }
    case $name in
      'BINDIR ') bindir=$value ;;
      'SHAREDIR ') sharedir=$value ;;
      'PKGLIBDIR ') pkglibdir=$value ;;
      'PGXS ') pgxs=$value ;;
      'INCLUDEDIR-SERVER ') includedir_server=$value ;;
      'VERSION ') major=${value#PostgreSQL } major=${major%%[!0-9]*} ;;
    esac
  done <<<"$about"
  ((major >= 15)) && [[ -x $bindir/postgres && -x $bindir/initdb && -e $pgxs ]] &&
    [[ -e $includedir_server/postgres.h ]]
}

# find_postgres: sets PG_CONFIG and what usable() sets: the caller's choice, else the one on the
# PATH (which make would take), else the newest of Debian's. Sets as_server, too: no server runs as
# root.
find_postgres() {
  local candidate
  as_server=()
  if ((EUID == 0)); then
    server_user=$(id -un postgres 2>/dev/null || echo nobody)
    as_server=(runuser -u "$server_user" --)
  fi
  if [[ -n ${PG_CONFIG:-} ]]; then
    usable "$PG_CONFIG"
    return
  fi
  while read -r candidate; do
    if usable "$candidate"; then
      PG_CONFIG=$candidate
      return
    fi
  done < <(echo pg_config; printf '%s\n' /usr/lib/postgresql/*/bin/pg_config | sort -rV)
  return 1
}

# server_dir DIR: makes a folder for the server's user. Where that user can't come, or a socket's
# name would get too long, DIR becomes a link to one in the temporary folder. Prints the real path.
server_dir() {
  local real=$1
  mkdir -p "$1"
  if ((${#1} > 80)) || ! "${as_server[@]}" test -x "$1"; then
    rmdir "$1"
    real=$(mktemp -d /tmp/stripe_sync.XXXXXX)
    ln -s "$real" "$1"
  fi
  chmod 755 "$real"
  ((EUID != 0)) || chown "$server_user:" "$real"
  echo "$real"
}

# remove_server_dir DIR: the folder made by server_dir, wherever it is.
remove_server_dir() {
  [[ ! -L $1 ]] || rm -rf "$(readlink "$1")"
  rm -rf "$1"
}

# private_postgres DIR: a copy of PostgreSQL's programs in DIR, to which `make install DESTDIR=DIR`
# adds the extension: nothing is installed outside, and nobody's server is touched. PostgreSQL finds
# its files relative to its programs, so those are copied and the rest is linked.
private_postgres() {
  local from
  mkdir -p "$1$bindir"
  cp -L "$bindir"/* "$1$bindir/"
  # what the server alone is started with (script/sanitize)
  if [[ -n ${SERVER_ENVIRONMENT:-} ]]; then
    mv "$1$bindir/postgres" "$1$bindir/postgres.real"
    # under its own name, which pg_ctl restart goes by
    # shellcheck disable=SC2016
    printf '#!/bin/bash\nexport %s\nexec -a "$0" "$0.real" "$@"\n' "$SERVER_ENVIRONMENT" >"$1$bindir/postgres"
    chmod 755 "$1$bindir/postgres"
  fi
  for from in "$pkglibdir" "$sharedir"; do
    mkdir -p "$1$from"
    ln -sf "$from"/* "$1$from/"
  done
  rm -f "$1$sharedir/extension"
  mkdir "$1$sharedir/extension"
  ln -s "$sharedir/extension"/* "$1$sharedir/extension/"
  # what an installed stripe_sync left is not this one
  rm -f "$1$pkglibdir"/stripe_sync.so "$1$sharedir/extension"/stripe_sync*
}
