"""TIFFs as science has them: 16 bits a value, many bands, values that are no brightness."""

from __future__ import annotations

import io

import numpy as np

from keras_inception.data.decoding import CannotRead

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_SEPARATE = 2
_TRANSPARENT = 2  # what an extra sample is: alpha that the colors are not multiplied by
_SAMPLES = {1: "unsigned", 2: "signed", 3: "floating-point"}


class Tiff:
    """The first page of a TIFF by its tags, which Pillow reads of files that it refuses, too.

    Args:
        content: The bytes of a file.
        bands: Which of its bands are red, green and blue, or gray, counted from 1; () if nobody
            says so.

    Attributes:
        height, width: In pixels, as stored.
        is_pillows: Whether Pillow gives all that is wanted of it, by the file's own meaning.

    Raises:
        CannotRead: its values have no range, or it has several bands and nobody says which to take.
    """

    def __init__(self, content: bytes, bands: tuple[int, ...] = ()) -> None:
        from PIL import TiffImagePlugin

        stream = io.BytesIO(content)
        tags = TiffImagePlugin.ImageFileDirectory_v2(stream.read(16 if content[2] == 43 else 8))
        stream.seek(tags.next)
        tags.load(stream)
        self.width, self.height, self.count = tags[256], tags[257], tags.get(277, 1)
        self._content, self._bits = content, tags.get(258, (1,))[0]
        self._turned, self._planes = tags.get(274, 1), tags.get(284, 1)
        kind = _SAMPLES.get(tags.get(339, (1,))[0], "undefined")
        if kind != "unsigned" or self._bits > 16:
            raise CannotRead(
                f"its values are {kind} numbers of {self._bits} bits, whose range nothing says; "
                "save it with unsigned numbers of 8 or 16 bits"
            )
        meaning, extra = tags.get(262, _BLACK_IS_ZERO), tags.get(338, ())
        layout = meaning, self.count
        self._is_negative = meaning == _WHITE_IS_ZERO
        has_alpha = layout in ((_BLACK_IS_ZERO, 2), (_RGB, 4))
        self._has_alpha = has_alpha and extra in ((), (1,), (_TRANSPARENT,))
        is_usual = layout in ((_BLACK_IS_ZERO, 1), (_RGB, 3))
        # Whether Pillow gives all bands as they are.
        self._is_opened = (
            self._bits == 8 and (is_usual or has_alpha) and extra in ((), (_TRANSPARENT,))
        )
        everything = tuple(range(1, self.count + 1))
        self._bands = () if bands == everything and self.count in (1, 3) else bands
        self.is_pillows = not self._bands and (
            meaning > _RGB  # a palette, inks, YCbCr, Lab
            or (self._bits <= 8 and (is_usual or layout == (_WHITE_IS_ZERO, 1)))
            or layout == (_BLACK_IS_ZERO, 1)
        )
        self._check_bands()

    def _check_bands(self) -> None:
        count = "1 band" if self.count == 1 else f"{self.count} bands"
        if self._bands and max(self._bands) > self.count:
            asked = ",".join(map(str, self._bands))
            raise CannotRead(f"it has {count}, and bands={asked} are asked for")
        if not (self._bands or self.is_pillows or self._has_alpha or self.count in (1, 3)):
            raise CannotRead(
                f"it has {count}; say which are red, green and blue, such as bands=3,2,1"
            )

    def pixels(self) -> np.ndarray:
        """uint8 or uint16 (height, width, 1 or 3), upright; 16 bits are as they are stored.

        Raises:
            CannotRead: the package tifffile is needed, or a band that is marked as transparency
                may be one of its own.
        """
        values = self._values()
        largest = 2**self._bits - 1
        if self._bands:
            values = values[..., [band - 1 for band in self._bands]]
        elif self._has_alpha:
            if (values[..., -1] != largest).any():
                raise CannotRead(
                    f"it has {self.count} bands, the last of which is marked as transparency, as "
                    "infrared often is; say which to take, such as bands=1,2,3, or save it as PNG "
                    "if it is transparency"
                )
            values = values[..., :-1]
        if self._is_negative:
            if self._bits == 16 and values.max() <= largest // 2:
                raise CannotRead(
                    f"0 is white in it, and its values end at {values.max()}, so that nothing says "
                    "what is black; save it with 0 as black"
                )
            values = largest - values
        if self._turned >= 5:
            values = values.swapaxes(0, 1)
        if self._turned in (2, 3, 6, 7):
            values = values[:, ::-1]
        return values[::-1] if self._turned in (3, 4, 7, 8) else values

    def _values(self) -> np.ndarray:
        """(height, width, bands) as stored."""
        if self._is_opened:
            from PIL import TiffImagePlugin

            values = np.asarray(TiffImagePlugin.TiffImageFile(io.BytesIO(self._content), ""))
        else:
            try:
                import tifffile
            except ImportError as error:
                what = f"{self.count} bands of {self._bits} bits"
                raise CannotRead(f"it has {what}, which need the package tifffile") from error
            with tifffile.TiffFile(io.BytesIO(self._content)) as file:
                values = file.pages[0].asarray()
            if self.count > 1 and self._planes == _SEPARATE:
                values = np.moveaxis(values, 0, -1)
        return values.reshape(self.height, self.width, self.count)
