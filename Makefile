# Short names.
BIN := .venv/bin

.PHONY: check test bench demo proto environment

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

environment:
	@bash -c '. deploy/setup.sh && make_environment "$$root/.venv" "[dev]"'
