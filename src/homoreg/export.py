"""python -m homoreg.export run=PATH to=FILE: a trained descriptor as a file for other programs."""

from pathlib import Path

from omegaconf import DictConfig

from homoreg.cli import command
from homoreg.descriptors.exported import export_onnx, export_safetensors
from homoreg.descriptors.inference import NetworkDescriptor
from homoreg.descriptors.loading import load_descriptor
from homoreg.errors import HomoregError


@command("export")
def main(cfg: DictConfig) -> None:
    if cfg.run is None or cfg.to is None:
        raise HomoregError("give run=PATH, a run or a checkpoint, and to=FILE.safetensors or .onnx")
    file = Path(str(cfg.to))
    if file.suffix not in (".safetensors", ".onnx"):
        raise HomoregError(f"to={file}: give a file that ends in .safetensors or .onnx")
    if cfg.dtype not in ("float32", "float16"):
        raise HomoregError(f"dtype={cfg.dtype}: give float32 or float16")
    if cfg.dtype == "float16" and file.suffix == ".onnx":
        raise HomoregError(f"dtype=float16: {file} is written in float32; leave dtype out")
    descriptor = load_descriptor(
        str(cfg.run), checkpoint=cfg.checkpoint or "", device="cpu", packages=cfg.packages
    )
    if not isinstance(descriptor, NetworkDescriptor):
        raise HomoregError(f"run={cfg.run}: only trained networks are exported")
    if file.suffix == ".onnx":
        export_onnx(descriptor, file)
    else:
        export_safetensors(descriptor, file, half=cfg.dtype == "float16")
    print(f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
