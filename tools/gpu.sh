#!/bin/bash
# gpu.sh: everything that only a machine with a GPU can show, in one command and under nine minutes (docs/GPU.md).
#
#   tools/gpu.sh                            builds the preset `cuda` here, for this machine's GPU, then runs it
#   tools/gpu.sh --binaries DIR             takes panda, conformance, gpu_selfcheck and bench_{resnet,training,knn,kmeans,ranking} from DIR (built
#                                           elsewhere with the preset `cuda-static`: they need nothing but glibc and the driver)
#   --out DIR       where summary.json, log.txt and the steps' own files go (default out/gpu)
#   --seconds N     the time for everything (default 520)
#   --skip A,B      leaves out steps; their names are in the table
#   --dry-run       the emulator in the place of the GPU, and little of everything: a check of this script
#
# Each step has a time limit of its own, and one that fails does not stop the next. Ends with a table; exit code 0 if nothing failed.
set -u
cd "$(dirname "$0")/.." || exit 2

programs="panda conformance gpu_selfcheck bench_resnet bench_training bench_knn bench_kmeans bench_ranking"
binaries="" out=out/gpu seconds=520 skip="" dry=no
while [ $# -gt 0 ]; do
    case $1 in
    --binaries | --out | --seconds | --skip)
        [ $# -ge 2 ] || { echo "gpu.sh: $1 needs a value" >&2; exit 2; }
        case $1 in
        --binaries) binaries=$2 ;;
        --out) out=$2 ;;
        --seconds) seconds=$2 ;;
        --skip) skip=$2 ;;
        esac
        shift 2
        ;;
    --dry-run) dry=yes; shift ;;
    *) echo "usage: tools/gpu.sh [--binaries DIR] [--out DIR] [--seconds N] [--skip STEP,...] [--dry-run]" >&2; exit 2 ;;
    esac
done
case $seconds in *[!0-9]* | "") echo "gpu.sh: --seconds $seconds, expected a number" >&2; exit 2 ;; esac

mkdir -p "$out" || exit 2
log=$out/log.txt
: >"$log"
begun=$(date +%s)
deadline=$((begun + seconds))
names=() results=() times=() notes=()
failures=0

left() { echo $((deadline - $(date +%s))); }
record() { # name result seconds note
    names+=("$1") results+=("$2") times+=("$3") notes+=("$4")
    [ "$2" != FAIL ] || failures=$((failures + 1))
    printf '%-12s %-5s %4ss  %s\n' "$1" "$2" "$3" "$4"
}
# The last line of the log since $1 bytes that says something, without control characters.
last_line() { tail -c +"$(($1 + 1))" "$log" | tr -cd '\n[:print:]' | grep -v '^ *$' | tail -n 1 | cut -c1-150; }

# step NAME LIMIT COMMAND...: runs it within its limit and the time left; 77 means "cannot be done here", with the last line as the reason.
step() {
    local name=$1 limit=$2
    shift 2
    case ",$skip," in *",$name,"*) record "$name" skip 0 "asked for"; return ;; esac
    local remaining
    remaining=$(left)
    [ "$limit" -le "$remaining" ] || limit=$remaining
    if [ "$limit" -lt 3 ]; then
        record "$name" skip 0 "no time left"
        return
    fi
    printf '\n== %s (limit %s s): %s\n' "$name" "$limit" "$*" >>"$log"
    local before size code
    before=$(date +%s)
    size=$(stat -c %s "$log")
    timeout -k 5 "$limit" "$@" >>"$log" 2>&1
    code=$?
    judge "$name" "$limit" "$code" "$(($(date +%s) - before))" "$size"
}

judge() { # name limit code seconds bytes-of-the-log-before
    case $3 in
    0) record "$1" ok "$4" "$(last_line "$5")" ;;
    77) record "$1" skip "$4" "$(last_line "$5")" ;;
    124 | 137) record "$1" FAIL "$4" "over its limit of $2 s; $(last_line "$5")" ;;
    *) record "$1" FAIL "$4" "exit code $3; $(last_line "$5")" ;;
    esac
}

# steps_together LIMIT NAME COMMAND NAME COMMAND...: at once, for what is not timed; each COMMAND is one word for bash.
steps_together() {
    local limit=$1 remaining
    shift
    remaining=$(left)
    [ "$limit" -le "$remaining" ] || limit=$remaining
    local here before
    here=$(mktemp -d)
    before=$(date +%s)
    local -a wanted=()
    while [ $# -gt 0 ]; do
        case ",$skip," in
        *",$1,"*) record "$1" skip 0 "asked for" ;;
        *)
            if [ "$limit" -lt 3 ]; then
                record "$1" skip 0 "no time left"
            else
                wanted+=("$1")
                (
                    timeout -k 5 "$limit" bash -c "$2" >"$here/$1.log" 2>&1
                    echo "$? $(($(date +%s) - before))" >"$here/$1.end"
                ) &
            fi
            ;;
        esac
        shift 2
    done
    wait
    local name code took size
    for name in ${wanted[@]+"${wanted[@]}"}; do
        read -r code took <"$here/$name.end"
        printf '\n== %s (limit %s s)\n' "$name" "$limit" >>"$log"
        size=$(stat -c %s "$log")
        cat "$here/$name.log" >>"$log"
        judge "$name" "$limit" "$code" "$took" "$size"
    done
    rm -rf "$here"
}

# --- the steps --------------------------------------------------------------------------------------------------------------------------
build() {
    command -v nvcc >/dev/null 2>&1 || [ -x /usr/local/cuda/bin/nvcc ] || { echo "no nvcc: give --binaries DIR"; return 77; }
    local arch
    arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .)
    [ "$arch" != 90 ] || arch=90a
    cmake --preset cuda -DPANDA_CUDA_LINEINFO=ON ${arch:+-DPANDA_CUDA_ARCHITECTURES=${arch}-real} &&
        cmake --build --preset cuda --target $programs
}

sanitize() { # tool filter
    command -v compute-sanitizer >/dev/null 2>&1 || { echo "no compute-sanitizer on this machine"; return 77; }
    # The tools slow a kernel a hundredfold and more: the small cases that touch every path, not the sweeps.
    compute-sanitizer --tool "$1" --error-exitcode 9 --print-limit 20 "$binaries/conformance" --gtest_brief=1 --gtest_filter="$2"
}

has_torch() { python3 -c 'import torch, torchvision, safetensors.torch, sys; sys.exit(0 if torch.cuda.is_available() else 1)' 2>/dev/null; }

# beside NAME SECONDS: bench/peers/NAME_cuda_torch.py, which drives bench_NAME.
beside() {
    has_torch || { echo "no PyTorch with a GPU on this machine"; return 77; }
    python3 "bench/peers/$1_cuda_torch.py" --program "$binaries/bench_$1" --output "$out/$1.json" --seconds "$2"
}

# The same programs with little of everything, on the emulator and PyTorch on the CPU: whether they work, no figures.
beside_dry() { # name options...
    local name=$1
    shift
    can_import torch || { echo "no PyTorch on this machine"; return 77; }
    OMP_NUM_THREADS=1 python3 "bench/peers/${name}_cuda_torch.py" --program "$binaries/bench_$name" --output "$out/$name.json" --device simt --torch-device cpu \
        --repetitions 1 "$@"
}

can_import() { # modules
    python3 -c 'from importlib.util import find_spec; import sys; sys.exit(not all(map(find_spec, sys.argv[1:])))' "$@" 2>/dev/null
}

knn() {
    beside knn 50 || return
    ! is_sm90 || PANDA_KNN_TILES=warpgroup python3 bench/peers/knn_cuda_torch.py --program "$binaries/bench_knn" --output "$out/knn_warpgroup.json" --seconds 50
}

is_sm90() { [ "$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1)" = 9.0 ]; }

# The tiles of sm_90 for kNN, which are not the default.
warpgroup() {
    is_sm90 || { echo "not an sm_90"; return 77; }
    PANDA_KNN_TILES=warpgroup conformance '*knn_gallery*/cuda_f32:*kmeans*/cuda_f32'
}

networks_dry() { # name options...
    can_import torchvision safetensors || { echo "no torchvision on this machine"; return 77; }
    beside_dry "$@" --engines native --precisions f32 --slice 0
}

bench() { beside resnet "$(($(left) - 15))"; }

# In as many processes as the machine has processors, at most six: an error that spoils the GPU's context fails the cases of one.
conformance() { # filter [json]
    local shards shard code=0
    local -a children=()
    shards=$(nproc)
    [ "$shards" -le 6 ] || shards=6
    for ((shard = 0; shard < shards; ++shard)); do
        GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard "$binaries/conformance" --gtest_brief=1 --gtest_filter="$1" \
            ${2:+--gtest_output=json:${2%.json}_$shard.json} >"$out/shard_$shard.log" 2>&1 &
        children+=($!)
    done
    for ((shard = 0; shard < shards; ++shard)); do
        wait "${children[$shard]}" || code=$?
        cat "$out/shard_$shard.log"
        rm "$out/shard_$shard.log"
    done
    return "$code"
}

gradcheck() { "$binaries/panda" -q gradcheck --device "$1" -o json >"$out/gradcheck.json"; } # device

# DN2 and SPADE from images to heat maps, with the network inside the program.
demo() { "$binaries/panda" -q demo --device cuda --out "$out/demo" --force -o json >"$out/demo.json"; }

export -f build sanitize has_torch can_import beside beside_dry is_sm90 warpgroup knn networks_dry bench conformance gradcheck demo left
export out deadline programs

# Where the compiled-in path is another machine's.
PANDA_SOURCE_DIR=$PWD
export PANDA_SOURCE_DIR
# cuDNN and cuBLAS as PyTorch's packages bring them, for where the system has none.
packaged=$(python3 -c 'import importlib.util, pathlib
spec = importlib.util.find_spec("nvidia")
roots = spec.submodule_search_locations if spec else []
print(":".join(str(folder) for root in roots for folder in sorted(pathlib.Path(root).glob("*/lib"))))' 2>/dev/null)
[ -z "$packaged" ] || export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$packaged

if [ -z "$binaries" ]; then
    binaries=build/cuda/bin
    step build 300 bash -c build
fi
export binaries
for program in $programs; do
    [ -x "$binaries/$program" ] || { echo "gpu.sh: no $binaries/$program" >&2; exit 2; }
done

if [ "$dry" = yes ]; then
    step info 20 "$binaries/panda" info
    step selfcheck 120 "$binaries/gpu_selfcheck" --device simt --rounds 1 --json "$out/selfcheck.json"
    step gradcheck 60 bash -c 'gradcheck simt'
    step conformance 120 bash -c 'conformance "Coverage.*:*misaligned*simt_fifo_f32:*empty*simt_fifo_f32" "$out/conformance.json"'
    step knn 120 bash -c 'beside_dry knn --scale 5000'
    step kmeans 120 bash -c 'beside_dry kmeans --scale 5000 --iterations 2'
    step ranking 120 bash -c 'beside_dry ranking --scale 1000'
    step training 120 bash -c 'networks_dry training --cases resnet18x0.125:step:2:32'
    # A whole ResNet would take the emulator too long.
    step bench 120 bash -c 'networks_dry resnet --device cpu --networks resnet18 --batches 1 --image-size 64'
else
    step info 30 "$binaries/panda" --device cuda info
    step selfcheck 60 "$binaries/gpu_selfcheck" --device cuda --json "$out/selfcheck.json"
    export PANDA_REQUIRE_GPU=1  # a conformance run that finds no GPU to test fails
    step conformance 150 bash -c 'conformance "Coverage.*:*/cuda_f32:*/cuda_tf32:*/cuda_f16:*/cuda_bf16" "$out/conformance.json"'
    step gradcheck 30 bash -c 'gradcheck cuda'
    step demo 60 bash -c demo
    step vendor 60 bash -c 'conformance "*/cuda_vendor_*"'
    small='*misaligned*/cuda_f32:*misaligned*/cuda_tf32:*misaligned*/cuda_f16:*empty*/cuda_f32:*error*/cuda_f32'
    export small
    steps_together 60 memcheck 'sanitize memcheck "$small"' racecheck 'sanitize racecheck "$small"' initcheck 'sanitize initcheck "$small"' \
        synccheck 'sanitize synccheck "$small"'
    step warpgroup 30 bash -c warpgroup
    step knn 130 bash -c knn
    step kmeans 35 bash -c 'beside kmeans 25'
    step ranking 30 bash -c 'beside ranking 20'
    step training 130 bash -c 'beside training 100'
    step bench "$(($(left) - 5))" bash -c bench
fi

# --- the table --------------------------------------------------------------------------------------------------------------------------
echo
printf '%-12s %-6s %7s  %s\n' step result seconds note
for i in "${!names[@]}"; do printf '%-12s %-6s %7s  %s\n' "${names[$i]}" "${results[$i]}" "${times[$i]}" "${notes[$i]}"; done
[ ! -f "$out/knn.json" ] || grep -E '^knn [^ ]*' "$log"
[ ! -f "$out/kmeans.json" ] || grep -E '^kmeans [^ ]*: ' "$log"
[ ! -f "$out/ranking.json" ] || grep -E '^ranking [^ ]*: ' "$log"
[ ! -f "$out/training.json" ] || grep -E '^training [^ ]* +(step|plain) ' "$log"
[ ! -f "$out/resnet.json" ] || grep -E '^(resnet|wide_resnet)[^ ]* +(f32|tf32|f16|bf16) batch' "$log"

json_text() { printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g'; }
{
    printf '{"device": "%s", "seconds": %s, "failures": %s, "steps": [' "$([ "$dry" = yes ] && echo simt || echo cuda)" "$(($(date +%s) - begun))" "$failures"
    comma=""
    for i in "${!names[@]}"; do
        printf '%s\n {"step": "%s", "result": "%s", "seconds": %s, "note": "%s"}' "$comma" "${names[$i]}" "${results[$i]}" "${times[$i]}" "$(json_text "${notes[$i]}")"
        comma=","
    done
    printf '\n]}\n'
} >"$out/summary.json"
echo "gpu.sh: $failures steps failed, $(($(date +%s) - begun)) s; $out/summary.json, the rest of the output in $log"
[ "$failures" = 0 ]
