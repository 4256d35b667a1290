"""The known data sets: their classes, and where the community keeps them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from nasprune.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Hosted:
    """One file in a data set repository of the Hugging Face Hub, pinned to a revision."""

    repository: str  # "owner/name"
    revision: str  # commit: what it names never changes
    file: str
    sha256: str  # of the whole file


@dataclass(frozen=True, kw_only=True)
class Catalogued:
    """A known data set."""

    name: str  # as in --dataset
    title: str
    classes: tuple[str, ...]  # names of the class folders, sorted
    images_per_class: tuple[int, int]  # fewest and most
    archive: Hosted  # a zip of <class>/<image>
    lists: Mapping[str, Hosted]  # "train", "validation", "test" -> text file, one file name a line
    split_source: str  # who drew the published split
    homepage: str  # where to get the data set by hand
    citation: str
    bands: str = "rgb"  # that are used unless others are asked for


def check_classes(known: Catalogued, found: Iterable[str]) -> None:
    """Refuse classes the data set does not have. A sample may lack some of them.

    Raises:
        DataError: naming the unknown classes.
    """
    unknown = sorted(set(found) - set(known.classes))
    if unknown:
        missing = sorted(set(known.classes) - set(found))
        raise DataError(
            f"{known.title} has no class {', '.join(map(repr, unknown))}"
            + (f" (and {', '.join(map(repr, missing))} not found)" if missing else "")
            + ": give its own class folders, or --dataset folder to take them as they are"
        )


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _lists(repository: str, revision: str, prefix: str, train: str, validation: str, test: str) -> Mapping[str, Hosted]:
    def one(part: str, sha256: str) -> Hosted:
        return Hosted(repository=repository, revision=revision, file=f"{prefix}-{part}.txt", sha256=sha256)

    return MappingProxyType(
        {"train": one("train", train), "validation": one("val", validation), "test": one("test", test)}
    )


_NEUMANN = "Neumann et al., In-domain representation learning for remote sensing, 2019 (60/20/20)"
_UCM = ("torchgeo/ucmerced", "7c5ef3454d9b1cccfa7ccde0c01fc8f00a45909a")
_NWPU = ("isaaccorley/resisc45", "883edc0eee77b2c84225472f10f126e3ed83fa6e")
_AID = ("isaaccorley/aid", "e6767964e40f567a18eac6e6ca5fce397e4ce411")
_EUROSAT, _EUROSAT_REVISION = "torchgeo/eurosat", "1ce6f1bfb56db63fd91b6ecc466ea67f2509774c"
_EUROSAT_RGB = Catalogued(
    name="eurosat",
    title="EuroSAT (RGB)",
    classes=_words(
        "AnnualCrop Forest HerbaceousVegetation Highway Industrial Pasture PermanentCrop Residential River SeaLake"
    ),
    images_per_class=(2000, 3000),
    archive=Hosted(
        repository=_EUROSAT,
        revision="c877bcd43f099cd0196738f714544e355477f3fd",
        file="EuroSAT.zip",
        sha256="8ebea626349354c5328b142b96d0430e647051f26efc2dc974c843f25ecf70bd",
    ),
    lists=_lists(
        _EUROSAT,
        _EUROSAT_REVISION,
        "eurosat",
        "1c1d2e855f95deee605a3d992f914d113fddbecf422ec61648057d029a37d695",
        "b385741f31daa9f1250cf1e1fe03adfab394e1172e0693df40141af004f60330",
        "cf37948894c12bd953930ff54ee9b7abf0b31478abb8d25fd2c6c721db74c592",
    ),
    split_source=_NEUMANN,
    homepage="https://github.com/phelber/EuroSAT",
    citation="Helber et al., EuroSAT: a novel dataset and deep learning benchmark, IEEE JSTARS, 2019",
)

CATALOG: Mapping[str, Catalogued] = MappingProxyType(
    {
        "ucm": Catalogued(
            name="ucm",
            title="UC Merced Land Use",
            classes=_words(
                "agricultural airplane baseballdiamond beach buildings chaparral denseresidential forest"
                " freeway golfcourse harbor intersection mediumresidential mobilehomepark overpass"
                " parkinglot river runway sparseresidential storagetanks tenniscourt"
            ),
            images_per_class=(100, 100),
            archive=Hosted(
                repository=_UCM[0],
                revision=_UCM[1],
                file="UCMerced_LandUse.zip",
                sha256="06c539ef28703a58fb07bd2837991ac7c48b813b00bb12ac197efd813a18daeb",
            ),
            lists=_lists(
                *_UCM,
                "uc_merced",
                "d625ea884cb2870e007774c1d64e904e9ae71ba3e7b4b92a9e8aa6065e2cd8cc",
                "4459da518e2c1486471b4ea57734950c9c7c449611fe3468c0d1ca34a4bd3a56",
                "0d3b64706fd2a9f9faaa1d7dade934ec8b4fd258a9853f037983b1f2db239220",
            ),
            split_source=_NEUMANN,
            homepage="http://weegee.vision.ucmerced.edu/datasets/landuse.html",
            citation="Yang and Newsam, Bag-of-visual-words for land-use classification, ACM SIGSPATIAL, 2010",
        ),
        "nwpu": Catalogued(
            name="nwpu",
            title="NWPU-RESISC45",
            classes=_words(
                "airplane airport baseball_diamond basketball_court beach bridge chaparral church"
                " circular_farmland cloud commercial_area dense_residential desert forest freeway"
                " golf_course ground_track_field harbor industrial_area intersection island lake meadow"
                " medium_residential mobile_home_park mountain overpass palace parking_lot railway"
                " railway_station rectangular_farmland river roundabout runway sea_ice ship snowberg"
                " sparse_residential stadium storage_tank tennis_court terrace thermal_power_station"
                " wetland"
            ),
            images_per_class=(700, 700),
            archive=Hosted(
                repository=_NWPU[0],
                revision=_NWPU[1],
                file="NWPU-RESISC45.zip",
                sha256="beeecd0b63656290ae6d65cf7763185b0c1c4c54a753ef8088d6fba3faaf1f53",
            ),
            lists=_lists(
                *_NWPU,
                "resisc45",
                "ecfa963be4d85eac83665f8be8634abcb4fe6f3546472cc0e87999e2cab4449b",
                "08d81f642526bec240589000af7f49a47e8d071a6e7925b0f36246a78ab64342",
                "e0927e80130b47317a2f18520d98382b6fc56f0d3edd3345140f7d02267c3805",
            ),
            split_source=_NEUMANN,
            homepage="https://gcheng-nwpu.github.io/",
            citation="Cheng, Han and Lu, Remote sensing image scene classification, Proc. IEEE, 2017",
        ),
        "aid": Catalogued(
            name="aid",
            title="AID",
            classes=_words(
                "Airport BareLand BaseballField Beach Bridge Center Church Commercial DenseResidential"
                " Desert Farmland Forest Industrial Meadow MediumResidential Mountain Park Parking"
                " Playground Pond Port RailwayStation Resort River School SparseResidential Square Stadium"
                " StorageTanks Viaduct"
            ),
            images_per_class=(220, 420),
            archive=Hosted(
                repository=_AID[0],
                revision=_AID[1],
                file="AID.zip",
                sha256="79345ef1766e85f7b92cf556c809c4f32ff24228ae71aadf96780f74f48c26a4",
            ),
            lists=_lists(
                *_AID,
                "aid",
                "807a725d2c07c77c0fd3014b341825f76aacfb47bd90485f8c222502945d4149",
                "b1bdacc9f5a406715b2b1e40648e5d4bc8929cadde4646c2fc5b2e3b6a3ead21",
                "84b08edcfd4d34bc62340ff0aebc0e07426865323bfd6c38868dc2bc8c70111b",
            ),
            split_source="torchgeo-bench (60/20/20); the data set's authors published none",
            homepage="https://captain-whu.github.io/AID/",
            citation="Xia et al., AID: a benchmark data set for aerial scene classification, IEEE TGRS, 2017",
        ),
        "eurosat": _EUROSAT_RGB,
        "eurosat-ms": replace(
            _EUROSAT_RGB,
            name="eurosat-ms",
            title="EuroSAT (13 bands)",
            bands="all",
            archive=Hosted(
                repository=_EUROSAT,
                revision=_EUROSAT_REVISION,
                file="EuroSATallBands.zip",
                sha256="751f070f9bffa2eed48b24ca2dd0b02959280c08837e8c9a5532a67ba611df59",
            ),
        ),
    }
)
