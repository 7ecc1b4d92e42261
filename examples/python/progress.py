"""For programs that train: a line with loss and speed now and then, and at the end a learning curve
as a picture (SVG: browsers and most viewers show it)."""

import time


class Progress:
    def __init__(self, every):
        self.every = every  # steps from line to line
        self.losses = []

    def step(self, loss):
        """The loss of a step, a number."""
        if not self.losses:
            self.start = time.perf_counter()
        self.losses.append(loss)
        n = len(self.losses)
        if n % self.every == 0:
            speed = n / (time.perf_counter() - self.start)
            mean = sum(self.losses[-self.every :]) / self.every
            print(f"step {n:4}  loss {mean:.5f}  {speed:.0f} steps/s")

    def save(self, path):
        """Writes the curve: the loss of each step, and in a darker line their running mean."""
        n, low, high = len(self.losses), min(self.losses), max(self.losses)
        low = min(low, 0) if low < 0 or low < high / 2 else low
        size = (high - low) or 1

        def line(values, color):
            points = " ".join(
                f"{50 + 410 * (i + 1) / n:.1f},{260 - 240 * (v - low) / size:.1f}"
                for i, v in enumerate(values)
            )
            return f'<polyline fill="none" stroke="{color}" points="{points}"/>'

        mean, means, part = self.losses[0], [], min(0.3, 10 / n)
        for loss in self.losses:
            mean += part * (loss - mean)
            means.append(mean)
        with open(path, "w") as file:
            file.write(
                '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 480 300" font-size="12"'
                ' font-family="sans-serif">\n<rect width="480" height="300" fill="white"/>\n'
                '<path d="M50 20V260H460" fill="none" stroke="#888"/>\n'
                f'<text x="8" y="26">{high:.3g}</text><text x="8" y="264">{low:.3g}</text>\n'
                f'<text x="440" y="276">{n}</text><text x="240" y="290">step</text>\n'
                f'<text x="56" y="20">loss</text>\n{line(self.losses, "#9cf")}\n'
                f"{line(means, '#036')}\n</svg>\n"
            )
