"""Files of descriptors as other libraries read them: safetensors, ONNX Runtime and OpenCV."""

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from omegaconf import OmegaConf
from safetensors import torch as library
from skimage import data as photographs
from tests.commands import succeed
from tests.descriptors.test_exported import trained

from homoreg import load_descriptor
from homoreg.cli import compose
from homoreg.descriptors.exported import (
    describing_metadata,
    export_onnx,
    export_safetensors,
    read_safetensors,
)

PHOTO = photographs.astronaut()


def test_the_file_is_read_by_the_format_s_own_library_and_the_other_way_round(
    tmp_path: Path,
) -> None:
    export_safetensors(trained(), tmp_path / "a.safetensors")
    tensors, metadata = read_safetensors(tmp_path / "a.safetensors")
    theirs = library.load_file(tmp_path / "a.safetensors")
    assert tensors.keys() == theirs.keys() == trained().network.state_dict().keys()
    assert all(torch.equal(tensors[name], theirs[name]) for name in theirs)
    tensors["half"] = torch.rand(3, 5).half()
    tensors["flag"] = torch.tensor(True)
    library.save_file(tensors, tmp_path / "b.safetensors", metadata)
    back, text = read_safetensors(tmp_path / "b.safetensors")
    assert text == metadata
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("name", ["homoreg", "cnn", "kornia_hardnet"])
def test_an_onnx_file_computes_what_the_network_does(name: str, tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    if name == "homoreg":
        descriptor = load_descriptor(name, device="cpu")
        succeed(tmp_path, "export", f"run={name}", "to=a.onnx")
    else:
        model = OmegaConf.to_container(compose("train", [f"model={name}"]).model, resolve=True)
        descriptor = trained(model)
        export_onnx(descriptor, file)
    cut = descriptor.window.cut(PHOTO, np.random.default_rng(0).uniform(9, 500, (70, 3)))
    expected = descriptor.describe_patches(cut)
    patches = (cut.patches.transpose(0, 3, 1, 2) / 255).astype(np.float32)

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata == describing_metadata(descriptor) | {"dtype": "float32"}
    assert session.get_inputs()[0].shape == ["N", 3, 32, 32]
    for count in (1, 70):
        (given,) = session.run(None, {"patches": patches[:count]})
        np.testing.assert_allclose(given, expected[:count], atol=1e-5)
    network = cv2.dnn.readNetFromONNX(str(file))
    for count in (1, 70):
        # OpenCV's own conversion of BGR pixels.
        network.setInput(
            cv2.dnn.blobFromImages(list(cut.patches[:count, :, :, ::-1]), 1 / 255, swapRB=True)
        )
        np.testing.assert_allclose(network.forward(), expected[:count], atol=1e-5)
