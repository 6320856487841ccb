"""llama.cpp's own OpenAI-compatible server on loopback: ``python llama_server.py FILE.gguf PORT [SLOTS]``.

From the wheel of xllamacpp, in an environment of its own; where llama.cpp is installed, ``llama-server -m
FILE.gguf --port PORT`` is the same server. Each slot holds 512 tokens and answers one draw at a time.
"""

import sys
import time

import xllamacpp


def main() -> None:
    file, port, slots = sys.argv[1], int(sys.argv[2]), int((*sys.argv, "4")[3])
    asked = xllamacpp.CommonParams()
    asked.model.path, asked.port, asked.hostnames = file, port, ["127.0.0.1"]
    asked.n_ctx, asked.n_parallel = 512 * slots, slots
    asked.cpuparams.n_threads, asked.warmup = 1, False
    server = xllamacpp.Server(asked)
    print(server.listening_address, flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
