#!/bin/sh
# keep_ptxas_report.sh COMMAND...: runs nvcc; what ptxas says of registers and spills (-Xptxas=-v) goes to OBJECT.ptxas, the rest where it
# always went. tools/kernel_resources.py reads those files. nvcc leaves the name of a temporary file in the object, another one each time:
# it is taken out, so that two builds give the same bits.
object=""
previous=""
for argument in "$@"; do
    [ "$previous" != -o ] || object=$argument
    previous=$argument
done
said=$("$@" 2>&1 >/dev/null)
code=$?
[ -z "$object" ] || [ "$code" != 0 ] || objcopy --wildcard --strip-symbol='tmpxft_*' "$object"
is_report='^ptxas info|^ *[0-9]+ bytes stack frame|^ +[0-9]+ bytes cumulative stack'
[ -z "$object" ] || [ "$code" != 0 ] || printf '%s\n' "$said" | grep -E "$is_report" >"$object.ptxas"
[ -z "$said" ] || printf '%s\n' "$said" | grep -Ev "$is_report" >&2
exit "$code"
