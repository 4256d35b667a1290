"""Fronts of all shapes, as front.json holds them."""

import numpy as np

from sweep.front import on_front

DENSE_MACS = 557_000_000
BUDGETS = (0.05, 0.1, 0.25, 0.5, 0.75)


def by_class(accuracy):
    """How two classes fare, one of which is taken for the other, and better than it."""
    beach, river = (max(0, round(20 * accuracy) - fewer) for fewer in (0, 2))
    return {
        "beach": {"images": 20, "right": beach, "taken_for": None if beach == 20 else "river"},
        "river": {"images": 20, "right": river, "taken_for": "beach & <sea>"},
    }


def front_of(points, **names):
    """The content of front.json for points (macs_ratio, val_accuracy, budget)."""
    best = on_front([point[0] for point in points], [point[1] for point in points])
    return {
        "study": "night",
        "dense": {
            "val_images": 105,
            "macs": DENSE_MACS,
            "params": 11_200_000,
            "val_accuracy": 0.932,
            "test_accuracy": 0.925,
            "worst_class_test_accuracy": 0.8,
            "by_class": by_class(0.925),
        },
        "points": [
            {
                "point": f"t{number:03d}-x",
                "trial": f"t{number:03d}",
                "network": "resnet18",
                "dataset": "ucm",
                "budget": budget,
                "macs": int(ratio * DENSE_MACS),
                "macs_ratio": ratio,
                "params": int(ratio * 11_200_000),
                "val_accuracy": accuracy,
                "test_accuracy": max(0.0, accuracy - 0.01),
                "worst_class_test_accuracy": by_class(accuracy)["river"]["right"] / 20,
                "widths": {"stem": 16, "layer1.0": 24},
                "artifact": f"points/t{number:03d}-x",
                "run_id": None,
                "on_front": bool(good),
                **({"by_class": by_class(accuracy)} if good else {}),
                **names,
            }
            for number, ((ratio, accuracy, budget), good) in enumerate(zip(points, best, strict=True))
        ],
    }


def random_front(number):
    rng = np.random.default_rng(number)
    budgets = rng.choice(BUDGETS, number)
    ratios = budgets * rng.uniform(0.96, 1.0, number)
    accuracies = 0.93 + 0.02 * np.log10(ratios) - rng.exponential(0.01, number)
    return front_of(list(zip(ratios.tolist(), accuracies.tolist(), budgets.tolist(), strict=True)))


FRONTS = {
    "none": front_of([]),
    "one": front_of([(0.24, 0.91, 0.25)]),
    "tied": front_of([(0.24, 0.91, 0.25)] * 3 + [(0.24, 0.90, 0.25), (0.1, 0.91, 0.1)]),
    "perfect": front_of([(0.5, 1.0, 0.5), (1.0, 1.0, 1.0)]),
    "collapsed": front_of([(0.5, 0.92, 0.5), (0.1, 0.9, 0.1), (0.05, 0.05, 0.05), (0.24, 0.0, 0.25)]),
    "tiny": front_of([(0.0004, 0.3, 0.0005), (0.5, 0.92, 0.5)]),
    "many budgets": front_of([(b / 20, 0.8 + b / 200, b / 20) for b in range(1, 20)]),
    "500": random_front(500),
}


def on_board(front):
    """The same with files for the board of the points on the front, of which INT8 is the faster the larger."""
    times = {"float32_latency_ms": 10.0, "int8_latency_ms": 4.0}
    dense = front["dense"] | {"float32_bytes": 4e7, "int8_bytes": 1e7, "int8_test_accuracy": 0.9} | times
    points = [
        point
        if not point["on_front"]
        else point
        | {
            "float32_bytes": 4e7 * point["macs_ratio"],
            "int8_bytes": 1e7 * point["macs_ratio"],
            "float32_latency_ms": 10 * point["macs_ratio"],
            "int8_latency_ms": 4 - point["macs_ratio"],
            "int8_test_accuracy": point["test_accuracy"],
        }
        for point in front["points"]
    ]
    return {**front, "dense": dense, "points": points}


FRONTS["on board"] = on_board(random_front(40))
