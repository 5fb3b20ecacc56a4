"""Metadata of the distribution `keras-isr`; `pyproject.toml` configures tools only."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "isr" / "__init__.py").read_text(encoding="utf-8"))[1]

TEST = [
    "axe-playwright-python",
    "hypothesis",
    "import-linter",
    "ipykernel",
    "jupyter-client",
    "matplotlib",
    "mypy",
    "nbclient",
    "nbformat",
    "playwright",
    "pytest>=8",
    "pytest-xdist>=3.7",
    "ruff",
]
JAX = ["jax>=0.4.34"]
ONNXRUNTIME = ["onnxruntime>=1.20", "onnx>=1.17", "tf2onnx>=1.17"]
# The floors are the first that take a Range without quadratic time (CVE-2025-62727).
PAGE = ["starlette>=0.49.1", "uvicorn>=0.34", "segno>=1.6"]
NCNN = ["ncnn>=1.0.20240410"]
HEIC = ["pillow-heif>=0.18"]
LITERT = ["ai-edge-litert>=1.2"]
# put_file with metadata, and errors of its own for objects that are missing.
S3 = ["s3fs>=2024.6"]
# The first with tokens between its processes.
CLUSTER = ["ray[data,train]>=2.52"]
SERVING = ["tensorflow-serving-api>=2.18", "tenacity>=8.2"]
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material", "mkdocstrings[python]", "matplotlib"]

setup(
    name="keras-isr",
    version=VERSION,
    description="Super-resolution of photographs and video on Keras 3 and TensorFlow",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["isr", "isr.*"]),
    package_data={
        "isr": [
            "py.typed",
            "presets/*/*",
            "presets/*/int8/*",
            "*.npz",
            "*.md",
            "models/*.npz",
            "models/*.md",
            "page/static/*",
        ]
    },
    install_requires=[
        "tensorflow>=2.18",
        "keras>=3.8",
        "numpy>=1.26",
        "pillow>=11",
        "imageio>=2.34",
        "av>=18",
        "imagecodecs>=2024.6",
        "tifffile>=2024.6",
        "h5py>=3.11",
        "safetensors>=0.4.5",
        "pydantic>=2.7",
        "ruamel.yaml>=0.18",
        "typer>=0.12",
        "click>=8.1",
        "rich>=13.7",
        "psutil>=5.9",
        "platformdirs>=4",
        "tensorboardX>=2.6.2",
        # It has wheels for these processors; without it everything works, slower.
        "openvino>=2025.0; platform_machine in 'x86_64 AMD64 aarch64 arm64'",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.18"],
        "jax": JAX,
        "serving": SERVING,
        "onnx": ONNXRUNTIME,
        "onnxruntime": ONNXRUNTIME,
        "openvino": [],  # a plain dependency now; the name stays for those who write it
        "litert": LITERT,
        "ncnn": NCNN,
        "page": PAGE,
        "heic": HEIC,
        "s3": S3,
        "gs": ["gcsfs>=2024.6"],
        "az": ["adlfs>=2024.6"],
        "cluster": CLUSTER,
        "test": TEST,
        "docs": DOCS,
        "dev": [
            *TEST,
            *DOCS,
            *JAX,
            *SERVING,
            *ONNXRUNTIME,
            *LITERT,
            *NCNN,
            *PAGE,
            *HEIC,
            *S3,
            "moto[server]>=5",
            "kubernetes-validate>=1.31",
            *CLUSTER,
            "pre-commit",
        ],
    },
    entry_points={"console_scripts": ["isr=isr.cli:main"]},
    classifiers=[
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Graphics",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
)
