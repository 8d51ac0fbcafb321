"""Provenance: a picture that mcltool writes says that it is generated, by which weights and of what.

PNG has it as text and XMP, JPEG, WebP and AVIF as EXIF and XMP. There is no date and no path of this machine in it: the
same inputs give the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

from PIL import Image
from PIL.PngImagePlugin import PngInfo

import mcltool
from mcltool.core.errors import printable

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's word for what a trained model has made."""
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:mcltool="https://mcltool/ns/1.0/"
 Iptc4xmpExt:DigitalSourceType={type} xmp:CreatorTool={tool} mcltool:weights={weights} mcltool:plugin={plugin}
 mcltool:condition={condition} mcltool:exemplar={exemplar}/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""
_SOFTWARE, _DESCRIPTION = 0x0131, 0x010E
"""Tags of EXIF."""


@dataclass(frozen=True)
class Provenance:
    """What a picture was made of. weights: their SHA-256. condition, exemplar: by the names that the manifest has."""

    weights: str
    plugin: str
    condition: str
    exemplar: str

    def options(self, form: str) -> dict[str, Any]:
        """What ``PIL.Image.save`` takes to write this into a picture of the format ``form`` (as in Settings)."""
        tool = f"mcltool {mcltool.__version__}"
        document = json.dumps({"generated": True, **asdict(self)})
        names = {name: quoteattr(printable(value)) for name, value in asdict(self).items()}
        xmp = _XMP.format(type=quoteattr(SOURCE_TYPE), tool=quoteattr(tool), **names)
        if form == "png":
            text = PngInfo()
            text.add_text("Software", tool)
            text.add_text("Comment", "Generated image")
            text.add_text("mcltool", document)
            text.add_itxt("XML:com.adobe.xmp", xmp)
            return {"pnginfo": text}
        exif = Image.Exif()
        exif[_SOFTWARE], exif[_DESCRIPTION] = tool, f"Generated image: {document}"
        return {"exif": exif.tobytes(), "xmp": xmp.encode()}
