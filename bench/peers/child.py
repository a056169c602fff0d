"""A bench program of ours that is driven by lines: each call is one line to it and one line back."""
import os
import subprocess


class Child:
    """`description` is the program's first line. RuntimeError with what it said where it died."""

    def __init__(self, command, **environment):
        self.name = os.path.basename(command[0])
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
        self.description = self.process.stdout.readline().strip()
        if not self.description:
            raise RuntimeError(self.process.stderr.read().strip())

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(self.process.stderr.read().strip() or f"{self.name} died at '{line}'")
        return answer

    def ended(self):
        return self.process.poll() is not None

    def close(self):
        self.process.stdin.close()
        self.process.wait()
