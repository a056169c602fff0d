#!/usr/bin/env python3
"""Makes tests/golden/weights/ and the seeds of tests/fuzz: small files of weights as the real libraries write them, and files that try to do harm.

Needs torch, numpy and safetensors. Deterministic but for the ids that torch.save puts into its files.
"""
import collections
import copyreg
import io
import pathlib
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import safetensors.torch
import torch

OUT = pathlib.Path(__file__).parent / "weights"


def state():
    """Every dtype, a scalar, an empty tensor, a transposed view, a slice of a shared storage, a parameter."""
    base = torch.arange(24, dtype=torch.float32) / 7 - 1
    tensors = collections.OrderedDict()
    tensors["f64"] = torch.arange(3, dtype=torch.float64) / 3
    tensors["f32"] = base.reshape(2, 3, 4)
    tensors["f16"] = (torch.arange(5) / 3 - 1).to(torch.float16)
    tensors["bf16"] = (torch.arange(6) / 3 - 1).to(torch.bfloat16).reshape(3, 2)
    tensors["i64"] = torch.tensor([-(2**40), 0, 2**62])
    tensors["i32"] = torch.tensor([[-5, 2**30]], dtype=torch.int32)
    tensors["i16"] = torch.tensor([-300, 300], dtype=torch.int16)
    tensors["i8"] = torch.tensor([-128, 127], dtype=torch.int8)
    tensors["u8"] = torch.tensor([0, 255], dtype=torch.uint8)
    tensors["bool"] = torch.tensor([True, False, True])
    tensors["bn.num_batches_tracked"] = torch.tensor(17)
    tensors["empty"] = torch.zeros(0, 4)
    tensors["slice"] = base[5:11]
    tensors["transposed"] = base.reshape(4, 6).t()
    tensors["weight"] = torch.nn.Parameter(torch.ones(2, 2) / 3)
    return tensors


def checkpoint():
    tensors = collections.OrderedDict(("module." + k, v) for k, v in state().items())
    optimizer = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(4, dtype=torch.float64)}},
                 "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0]}]}
    return {"epoch": 3, "best": 0.5, "name": "caf\u00e9", "none": None, "done": True, "state_dict": tensors,
            "optimizer": optimizer}


def save_tar(path, tensors):
    """The container that torch.save wrote before 0.2, with parameters as they were pickled then."""
    storages, views, members = {}, [], {}
    parameters = {}

    def reduce_parameter(p):
        return torch.nn.Parameter, (parameters.setdefault(id(p), p.data),), (True, False, collections.OrderedDict())

    class Pickler(pickle.Pickler):
        dispatch_table = {**copyreg.dispatch_table, torch.nn.Parameter: reduce_parameter}

        def persistent_id(self, obj):
            if type(obj) is torch.Tensor:
                key = 1000 + len(members)
                members[key] = obj
                return str(key)
            return None

    main = io.BytesIO()
    Pickler(main, protocol=2).dump(tensors)

    classes = {torch.float64: torch.DoubleStorage, torch.float32: torch.FloatStorage, torch.float16: torch.HalfStorage,
               torch.bfloat16: torch.BFloat16Storage, torch.int64: torch.LongStorage, torch.int32: torch.IntStorage,
               torch.int16: torch.ShortStorage, torch.int8: torch.CharStorage, torch.uint8: torch.ByteStorage,
               torch.bool: torch.BoolStorage}
    described, keys = io.BytesIO(), {}
    pickle.dump(len(members), described, protocol=2)
    for key, tensor in members.items():
        pointer = (tensor.untyped_storage().data_ptr(), tensor.dtype)
        if pointer not in keys:
            keys[pointer] = 2000 + len(keys)
            storages[keys[pointer]] = tensor
        storage_key = keys[pointer]
        offset = tensor.storage_offset()
        if key % 2 == 0 and tensor.numel() > 0 and tensor.is_contiguous():  # some through a view of the storage
            view_key = 3000 + len(views)
            views.append((view_key, storage_key, offset, tensor.numel()))
            storage_key, offset = view_key, 0
        pickle.dump((key, storage_key, classes[tensor.dtype]), described, protocol=2)
        described.write(struct.pack("<ii", tensor.dim(), 0))
        described.write(struct.pack(f"<{tensor.dim()}q", *tensor.shape))
        described.write(struct.pack(f"<{tensor.dim()}q", *tensor.stride()))
        described.write(struct.pack("<q", offset))
    stored = io.BytesIO()
    pickle.dump(len(storages), stored, protocol=2)
    for key, tensor in storages.items():
        pickle.dump((key, "cpu", classes[tensor.dtype]), stored, protocol=2)
        raw = bytes(tensor.untyped_storage())
        stored.write(struct.pack("<q", len(raw) // tensor.element_size()) + raw)
    pickle.dump(views, stored, protocol=2)

    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in (("sys_info", pickle.dumps({"little_endian": True}, protocol=2)), ("pickle", main.getvalue()),
                           ("tensors", described.getvalue()), ("storages", stored.getvalue())):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 1483228800.5  # a fraction asks for an extended header
            tar.addfile(info, io.BytesIO(data))


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def rezip(path, replace, compression=zipfile.ZIP_STORED):
    """Rewrites a checkpoint with some members replaced."""
    with zipfile.ZipFile(path) as old:
        members = [(i.filename, old.read(i.filename)) for i in old.infolist()]
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            new.writestr(info, replace.get(name.split("/", 1)[-1], lambda d: d)(data))


def make_harmful():
    import builtins
    import os
    import runpy
    import subprocess
    victims = {"os_system": Call(os.system, "touch harmed"), "eval": Call(builtins.eval, "1+1"),
               "exec": Call(builtins.exec, "x=1"), "getattr": Call(builtins.getattr, "a", "upper"),
               "popen": Call(subprocess.Popen, ["touch", "harmed"]), "runpy": Call(runpy.run_path, "x.py"),
               "load": Call(torch.load, "x.pth"), "open": Call(io.open, "harmed", "w")}
    for name, call in victims.items():
        payload = pickle.dumps({"state_dict": {"w": call}}, protocol=2)
        path = OUT / f"harmful_{name}.pth"
        torch.save({"w": torch.zeros(1)}, path)
        rezip(path, {"data.pkl": lambda _, p=payload: p})
    for name in ("os_system", "eval"):
        torch.save({"w": torch.zeros(1), "x": victims[name]}, OUT / f"harmful_{name}_stream.pth",
                   _use_new_zipfile_serialization=False)
    with tarfile.open(OUT / "harmful_os_system_tar.pth", "w") as tar:
        for member in ("storages", "tensors", "pickle"):
            data = pickle.dumps(victims["os_system"] if member == "storages" else 0, protocol=2)
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    # By ways that checkpoints do not use: STACK_GLOBAL, INST, OBJ, EXT1.
    ways = {"stack_global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01a\x85R.", "inst": b"(X\x01\x00\x00\x00aios\nsystem\n.",
            "obj": b"(cos\nsystem\nX\x01\x00\x00\x00ao.", "ext": b"\x80\x02\x82\x01)R.",
            "stack_global_2": b"\x80\x02X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93)R."}
    for name, payload in ways.items():
        path = OUT / f"harmful_{name}.pth"
        torch.save({"w": torch.zeros(1)}, path)
        rezip(path, {"data.pkl": lambda _, p=payload: p})
    np.save(OUT / "harmful_objects.npy", np.array([victims["os_system"]], dtype=object), allow_pickle=True)
    np.savez(OUT / "harmful_objects.npz", w=np.array([victims["os_system"]], dtype=object))


def make_seeds():
    """Small first inputs for tests/fuzz."""
    small = {"w": torch.arange(6, dtype=torch.float32).reshape(2, 3).t(), "n": torch.tensor(1), "b": torch.tensor([True])}
    seeds = {}
    zipped = io.BytesIO()
    torch.save({"state_dict": {f"module.{k}": v for k, v in small.items()}, "epoch": 1}, zipped)
    stream = io.BytesIO()
    torch.save(small, stream, _use_new_zipfile_serialization=False)
    save_tar(OUT / "seed.tar", small)
    tar = (OUT / "seed.tar").read_bytes().rstrip(b"\0")
    (OUT / "seed.tar").unlink()
    tar += bytes(-len(tar) % 512 + 512)
    seeds["torch_checkpoint"] = {"zip": zipped.getvalue(), "stream": stream.getvalue(), "tar": tar}
    with zipfile.ZipFile(io.BytesIO(zipped.getvalue())) as archive:
        seeds["pickle"] = {"state": archive.read("archive/data.pkl")}
    seeds["safetensors"] = {"small": safetensors.torch.save({k: v.contiguous() for k, v in small.items()}, {"a": "b"})}
    deflated = io.BytesIO()
    np.savez_compressed(deflated, a=np.zeros(64, "f4"), b=np.arange(3, dtype=">u2"))
    seeds["zip"] = {"torch": zipped.getvalue(), "deflated": deflated.getvalue()}
    seeds["npy"] = {"npz": deflated.getvalue(), "f4": (OUT / "f4.npy").read_bytes(),
                    "big_fortran": (OUT / "f4_big_fortran.npy").read_bytes(), "u2": (OUT / "u2_big.npy").read_bytes(),
                    "v2": (OUT / "f4_v2.npy").read_bytes()}
    for target, files in seeds.items():
        folder = OUT.parent.parent / "fuzz" / "seeds" / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)


def main():
    OUT.mkdir(exist_ok=True)
    for old in OUT.iterdir():
        old.unlink()
    tensors = state()
    dense = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
    safetensors.torch.save_file(dense, OUT / "state.safetensors", metadata={"format": "pt", "note": "caf\u00e9 \"q\"\n"})
    torch.save(checkpoint(), OUT / "state.pth")
    torch.save(checkpoint(), OUT / "state_stream.pth", _use_new_zipfile_serialization=False)
    save_tar(OUT / "state_tar.pth", {"model": collections.OrderedDict(("module." + k, v) for k, v in tensors.items())})
    swap = {"byteorder": lambda _: b"big"}
    torch.save({"f64": dense["f64"], "i16": dense["i16"], "u8": dense["u8"]}, OUT / "big_endian.pth")
    sizes = iter((8, 2, 1))
    for key in range(3):
        size = next(sizes)
        swap[f"data/{key}"] = lambda d, s=size: np.frombuffer(d, f"<u{s}").byteswap().tobytes()
    rezip(OUT / "big_endian.pth", swap)
    torch.serialization.set_crc32_options(False)
    torch.save({"f32": dense["f32"]}, OUT / "no_checksum.pth")
    torch.serialization.set_crc32_options(True)
    torch.save({"w": torch.zeros(1).expand(1000, 1000)}, OUT / "expanded.pth")
    torch.save(torch.nn.Linear(2, 2), OUT / "whole_module.pth")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(OUT / "script.pt"))
    for name in ("state.pth", "state_stream.pth", "state_tar.pth"):
        loaded = torch.load(OUT / name, weights_only=False)
        loaded = loaded.get("state_dict") or loaded["model"]
        for key, value in dense.items():
            got = loaded["module." + key].detach()
            assert got.dtype == value.dtype and torch.equal(got, value), (name, key)

    arrays = {k: v.numpy() for k, v in dense.items() if k != "bf16"}
    np.savez(OUT / "state.npz", **arrays)
    np.savez_compressed(OUT / "state_compressed.npz", **arrays)
    f4 = np.arange(24, dtype="<f4").reshape(2, 3, 4) / 7
    np.save(OUT / "f4.npy", f4)
    np.save(OUT / "f4_fortran.npy", np.asfortranarray(f4))
    np.save(OUT / "f4_big.npy", f4.astype(">f4"))
    np.save(OUT / "f4_big_fortran.npy", np.asfortranarray(f4.astype(">f4")))
    for version in ((2, 0), (3, 0)):
        with open(OUT / f"f4_v{version[0]}.npy", "wb") as f:
            np.lib.format.write_array(f, f4, version=version)
    np.save(OUT / "scalar.npy", np.float64(1 / 3))
    np.save(OUT / "u2.npy", np.array([0, 65535, 258], "<u2"))
    np.save(OUT / "u2_big.npy", np.array([0, 65535, 258], ">u2"))
    np.save(OUT / "u4.npy", np.array([[0, 2**32 - 1]], "<u4"))
    np.save(OUT / "u8.npy", np.array([1], "<u8"))
    np.save(OUT / "complex.npy", np.array([1j]))
    np.save(OUT / "text.npy", np.array(["a"]))
    np.save(OUT / "structure.npy", np.array([(1, 2.0)], dtype=[("a", "<i4"), ("b", "<f4")]))
    make_harmful()
    make_seeds()


main()
