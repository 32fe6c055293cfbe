# Short names.
BIN := .venv/bin
FENCE_OBJECT := haagent/adapters/fence/fence.bpf.o

.PHONY: check test bench demo proto bpf environment

check: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test:
	./tests/run

bench:
	./tests/bench/run

demo:
	./deploy/demo

proto: environment
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. haagent/control/haagent.proto

# Debian 12's compiler, so that the object is the same byte for byte wherever it is made.
bpf:
	clang-14 -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror -fdebug-prefix-map=$(CURDIR)=. \
	  -idirafter /usr/include/$(shell uname -m)-linux-gnu \
	  -c haagent/adapters/fence/fence.bpf.c -o $(FENCE_OBJECT)
	llvm-strip-14 -g $(FENCE_OBJECT)

environment:
	@bash -c '. deploy/setup.sh && make_environment "$$root/.venv" "[dev]"'
