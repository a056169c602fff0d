#!/bin/sh
# check_static.sh FILE...: exit code 1 if a program needs a shared library that is not glibc's.
set -eu
[ $# -gt 0 ] || { echo "usage: tools/check_static.sh FILE..." >&2; exit 2; }
foreign=0
for program in "$@"; do
    # By what the file itself names: ldd would also list what those need, and run the loader.
    for library in $(readelf -d "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
        case $library in
        libc.so.* | libm.so.* | libdl.so.* | libpthread.so.* | librt.so.* | ld-linux*) ;;
        *)
            echo "$program needs $library"
            foreign=1
            ;;
        esac
    done
done
[ "$foreign" = 1 ] || echo "$# programs need nothing but glibc"
exit "$foreign"
