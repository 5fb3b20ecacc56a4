"""Pictures that training is tested on."""

from pathlib import Path

import pytest
from pictures import folder_of_photographs


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    folder_of_photographs(folder / "train", 3)
    folder_of_photographs(folder / "val", 2, 40, 48)
    return folder
