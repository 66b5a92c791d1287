"""Files of some content, read by the reader of the format that a module tests."""

import pytest


@pytest.fixture
def read(request, tmp_path):
    """Reads a file of some content: `FILE` of the module is its name and its reader."""
    name, reader = request.module.FILE

    def read(data):
        path = tmp_path / name
        path.write_bytes(data)
        return reader(path)

    return read


@pytest.fixture
def assert_refused(request, read):
    """Some content is refused for a reason, in one line that names the file."""
    name, _ = request.module.FILE

    def assert_refused(data, why):
        with pytest.raises(ValueError, match=why) as caught:
            read(data)
        assert name in str(caught.value) and "\n" not in str(caught.value)

    return assert_refused
