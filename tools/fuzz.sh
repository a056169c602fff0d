#!/bin/sh
# fuzz.sh SECONDS [TARGET...]: runs each fuzz target (default: all) for that long, two at a time on two cores, starting from its
# committed seeds. New inputs go to build/fuzz/corpus/TARGET, a finding to build/fuzz/findings; a finding is exit code 1.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:?usage: fuzz.sh SECONDS [TARGET...]}
shift

cmake -G Ninja -B build/fuzz -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER=clang++ -DPANDA_FUZZ=ON -DPANDA_TESTS=OFF \
    -DPANDA_BENCH=OFF -DPANDA_WERROR=OFF >/dev/null
cmake --build build/fuzz --target fuzz_targets

[ $# -gt 0 ] || set -- $(cd tests/fuzz && ls fuzz_*.cpp | sed 's/^fuzz_//; s/\.cpp$//')
mkdir -p build/fuzz/findings build/fuzz/logs

run_one() {
    mkdir -p "build/fuzz/corpus/$1"
    "build/fuzz/bin/fuzz_$1" "build/fuzz/corpus/$1" "tests/fuzz/seeds/$1" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
        -malloc_limit_mb=1024 -print_final_stats=1 -artifact_prefix="build/fuzz/findings/$1-" >"build/fuzz/logs/$1.log" 2>&1
}

failed=""
report() {
    wait "$1" || failed="$failed $2"
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "build/fuzz/logs/$2.log")
    printf '%-20s %12s executions in %s s\n' "$2" "${executions:-none}" "$seconds"
}
while [ $# -gt 0 ]; do
    first=$1
    shift
    run_one "$first" & first_pid=$!
    if [ $# -gt 0 ]; then
        second=$1
        shift
        run_one "$second" & second_pid=$!
        report "$first_pid" "$first"
        report "$second_pid" "$second"
    else
        report "$first_pid" "$first"
    fi
done
for target in $failed; do
    echo "fuzz.sh: $target failed:" >&2
    tail -n 30 "build/fuzz/logs/$target.log" >&2
done
[ -z "$failed" ]
