"""Files of numpy, scipy and pandas: arrays in their own formats, and the objects that hold them as pickles."""

import pickle

import joblib
import numpy as np
import pandas as pd
import scipy.interpolate
import scipy.sparse
import scipy.spatial
import scipy.stats
from honest.catalogue import SEED, Shelf

PROTOCOLS = (2, 3, 4, 5)


def arrays():
    """Return arrays of every kind that numpy can hold without objects: name → array."""
    rng = np.random.default_rng(SEED)
    people = np.dtype([("name", "U8"), ("age", "<i4"), ("place", "<f8", (2,))])
    return {
        "floats": rng.random((7, 5)),
        "halves": rng.random(9).astype("f2"),
        "singles": rng.random((2, 3, 4)).astype("f4"),
        "big-endian": rng.integers(0, 99, 12).astype(">i4"),
        "complex": rng.random(4) + 1j * rng.random(4),
        "flags": rng.random(20) > 0.5,
        "bytes": np.array([b"ab", b"cde"]),
        "words": np.array(["one", "three"]),
        "dates": np.array(["2026-11-22", "2026-11-23"], dtype="datetime64[D]"),
        "spans": np.array([1, 5], dtype="timedelta64[s]"),
        "columns": np.asfortranarray(rng.random((6, 3))),
        "strided": rng.random((8, 8))[::2, 1::3],
        "zero-dim": np.array(3.5),
        "empty": np.empty((0, 4)),
        "records": np.array([("Ada", 36, (1.0, 2.0)), ("Alan", 41, (3.0, 4.0))], dtype=people),
        "long": np.arange(4000, dtype="u8"),
        "raw": np.array([b"\x00\x80\x02c"], dtype="V4"),
    }


def objects():
    """Return other things that numpy pickles: name → object."""
    rng = np.random.default_rng(SEED)
    return {
        "scalars": [np.float64(1.5), np.int8(-3), np.bool_(True), np.str_("x"), np.datetime64("2026-01-01")],
        "dtypes": [np.dtype("f4"), np.dtype([("a", "i8"), ("b", "S3")]), np.dtype(("i2", (3,)))],
        "types": {"float": np.float32, "int": np.int64, "any": np.ndarray},
        "generator": rng,
        "philox": np.random.Generator(np.random.Philox(3)),
        "sfc64": np.random.Generator(np.random.SFC64(3)),
        "pcg64dxsm": np.random.Generator(np.random.PCG64DXSM(3)),
        "random-state": np.random.RandomState(7),
        "seed-sequence": np.random.SeedSequence(5),
        "masked": np.ma.masked_less(np.arange(9.0).reshape(3, 3), 4),
        "masked-constant": {"missing": np.ma.masked},
        "matrix": np.asmatrix(np.eye(2)),
        "recarray": np.rec.array([(1, 2.0), (3, 4.0)], names="a,b"),
        "polynomial": np.polynomial.Polynomial([1.0, 2.0, 3.0]),
        "chebyshev": np.polynomial.Chebyshev([1.0, 0.5]),
        "poly1d": np.poly1d([1.0, 2.0]),
        "ufuncs": {"log": np.log1p, "exp": np.expm1, "sum": np.sum, "root": np.sqrt},
        "object-array": np.array([{"a": 1}, [1, 2], None, "text"], dtype=object),
        "ragged": np.array([np.arange(3), np.arange(5)], dtype=object),
        "slices": [slice(1, 5, 2), Ellipsis, range(4)],
        "vocabulary": {f"word{i}": np.int64(i) for i in range(500)},
        "embedding": {f"token{i}": rng.random(8).astype("f4") for i in range(60)},
        "same-twice": [shared := rng.random(5), shared],
    }


def numpy_files(folder):
    """Write npy, npz, pickles of every protocol and joblib files of arrays."""
    shelf = Shelf(folder, "numpy")
    for name, array in arrays().items():
        shelf.add(f"{name}.npy", f"npy, {name}", lambda path, array=array: np.save(path, array))
    given = arrays()
    shelf.add("all.npz", "npz of every kind of array", lambda path: np.savez(path, **given))
    shelf.add(
        "packed.npz",
        "npz, compressed",
        lambda path: np.savez_compressed(path, a=given["floats"], b=given["flags"]),
    )
    shelf.add(
        "unnamed.npz", "npz without names", lambda path: np.savez(path, given["floats"], given["words"])
    )
    shelf.add("table.txt", "savetxt", lambda path: np.savetxt(path, given["floats"]))
    for protocol in PROTOCOLS:
        pickled = pickle.dumps(given, protocol=protocol)
        shelf.add(
            f"arrays.p{protocol}.pkl",
            f"every kind of array, pickle protocol {protocol}",
            lambda p, d=pickled: p.write_bytes(d),
        )
    for index, (name, thing) in enumerate(objects().items()):
        protocol = PROTOCOLS[index % 4]
        data = pickle.dumps(thing, protocol=protocol)
        shelf.add(
            f"{name}.p{protocol}.pkl",
            f"{name}, pickle protocol {protocol}",
            lambda p, d=data: p.write_bytes(d),
        )
    for compress in (0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3), ("lz4", 3)):
        kind = compress[0] if isinstance(compress, tuple) else ("raw", "zlib")[compress > 0]
        shelf.add(
            f"arrays.{kind}.joblib",
            f"every kind of array, joblib, {kind}",
            lambda p, c=compress: joblib.dump(given, p, compress=c),
        )
    shelf.add("objects.joblib", "object arrays, joblib, raw", lambda p: joblib.dump(objects()["ragged"], p))
    large = np.random.default_rng(SEED).random((900, 700))
    shelf.add("large.npy", "npy, 5 MB", lambda path: np.save(path, large))
    shelf.add(
        "large.joblib",
        "joblib, raw, 5 MB",
        lambda path: joblib.dump({"weights": large, "bias": large[0]}, path),
    )
    shelf.add(
        "large.pkl", "pickle protocol 4, 5 MB", lambda path: path.write_bytes(pickle.dumps(large, protocol=4))
    )
    return shelf


def scipy_objects():
    """Return what people keep of scipy: name → object."""
    base = scipy.sparse.random(9, 7, density=0.3, random_state=3, format="csr")
    points = np.random.default_rng(SEED).random((12, 2))
    kinds = ("csr", "csc", "coo", "bsr", "dia", "lil", "dok")
    return {
        **{f"{kind}-matrix": scipy.sparse.csr_matrix(base).asformat(kind) for kind in kinds},
        **{f"{kind}-array": scipy.sparse.csr_array(base).asformat(kind) for kind in kinds},
        "kd-tree": scipy.spatial.cKDTree(points),
        "rotation": scipy.spatial.transform.Rotation.from_euler("x", 30, degrees=True),
        "interp1d": scipy.interpolate.interp1d([0, 1, 2], [3, 4, 5]),
        "spline": scipy.interpolate.CubicSpline([0, 1, 2, 3], [0, 1, 4, 9]),
        "bspline": scipy.interpolate.make_interp_spline([0, 1, 2, 3], [0, 1, 4, 9]),
        "frozen": scipy.stats.norm(0, 2),
        "kde": scipy.stats.gaussian_kde(points.T),
    }


def scipy_files(folder):
    """Write sparse matrices in scipy's own format, and everything as pickle or joblib."""
    shelf = Shelf(folder, "scipy")
    made = scipy_objects()
    for kind in ("csr", "csc", "coo", "bsr", "dia"):
        shelf.add(
            f"{kind}.npz",
            f"save_npz, {kind}",
            lambda p, k=kind: scipy.sparse.save_npz(p, made[f"{k}-matrix"]),
        )
    for index, (name, thing) in enumerate(made.items()):
        protocol = PROTOCOLS[index % 4]
        try:
            data = pickle.dumps(thing, protocol=protocol)
        except (TypeError, AttributeError):
            shelf.skip(f"{name} cannot be pickled")
            continue
        shelf.add(
            f"{name}.p{protocol}.pkl",
            f"{name}, pickle protocol {protocol}",
            lambda p, d=data: p.write_bytes(d),
        )
    sparse = {name: thing for name, thing in made.items() if name.startswith(("csr", "csc", "coo"))}
    shelf.add("sparse.joblib", "sparse matrices, joblib, raw", lambda p: joblib.dump(sparse, p))
    shelf.add("sparse.z", "sparse matrices, joblib, zlib", lambda p: joblib.dump(sparse, p, compress=3))
    return shelf


def pandas_objects():
    """Return frames, series and indexes of every common kind: name → object."""
    rng = np.random.default_rng(SEED)
    days = pd.date_range("2026-01-01", periods=6, freq="D")
    mixed = {
        "number": rng.random(6),
        "count": range(6),
        "word": list("abcdef"),
        "flag": [True, False] * 3,
        "day": days,
    }
    frame = pd.DataFrame(mixed)
    levels = pd.MultiIndex.from_product([["a", "b"], [1, 2, 3]], names=["letter", "number"])
    return {
        "frame": frame,
        "numbers": pd.DataFrame(rng.random((5, 3)), columns=list("xyz")),
        "objects": pd.DataFrame({"text": ["a", None, "c"]}, dtype=object),
        "categories": frame.assign(kind=pd.Categorical(list("aabbcc"), ordered=True)),
        "nullable": pd.DataFrame(
            {
                "i": pd.array([1, None], "Int64"),
                "b": pd.array([True, None], "boolean"),
                "f": pd.array([1.5, None], "Float64"),
            }
        ),
        "levels": pd.DataFrame({"value": rng.random(6)}, index=levels),
        "zoned": pd.Series(days.tz_localize("UTC"), name="when"),
        "zoned-berlin": pd.Series(days.tz_localize("Europe/Berlin")),
        "periods": pd.Series(range(4), index=pd.period_range("2026-01", periods=4, freq="M")),
        "spans": pd.Series(pd.to_timedelta([1, 2], unit="h")),
        "intervals": pd.Series(pd.cut([1, 5, 9], 3)),
        "sparse": pd.DataFrame({"s": pd.arrays.SparseArray([0, 0, 1.5])}),
        "series": pd.Series(rng.random(5), name="score"),
        "index": pd.Index(["a", "b"], name="key"),
        "range-index": pd.RangeIndex(5),
        "stamps": [
            pd.Timestamp("2026-11-22 12:00"),
            pd.Timedelta(days=1),
            pd.Period("2026-11"),
            pd.NaT,
            pd.NA,
        ],
        "offset": pd.offsets.MonthEnd(2),
        "interval": pd.Interval(0, 1),
        "flags": frame.set_flags(allows_duplicate_labels=False),
        "empty": pd.DataFrame(),
    }


def pandas_files(folder):
    """Write pandas objects with to_pickle, every protocol, compressed and through joblib."""
    shelf = Shelf(folder, "pandas")
    for index, (name, thing) in enumerate(pandas_objects().items()):
        protocol = PROTOCOLS[index % 4]
        shelf.add(
            f"{name}.p{protocol}.pkl",
            f"{name}, pickle protocol {protocol}",
            lambda p, t=thing, n=protocol: pd.to_pickle(t, p, protocol=n),
        )
    frame = pandas_objects()["frame"]
    for suffix in ("gz", "bz2", "xz", "zip"):
        shelf.add(f"frame.pkl.{suffix}", f"frame, to_pickle, {suffix}", frame.to_pickle)
    shelf.add("frame.joblib", "frame, joblib, raw", lambda p: joblib.dump(frame, p))
    shelf.add("frame.csv", "frame, csv", frame.to_csv)
    shelf.add("frame.json", "frame, json", frame.to_json)
    shelf.add("frame.jsonl", "frame, json lines", lambda p: frame.to_json(p, orient="records", lines=True))
    return shelf


def make(folder):
    """Write the family and return its shelves."""
    return [numpy_files(folder), scipy_files(folder), pandas_files(folder)]
