"""Functions for tests to register: a small bank, and some that misbehave."""

from __future__ import annotations

import asyncio
from typing import Any

from materializer.devserver.functions import (
    Call,
    ConvexError,
    Function,
    FunctionFailed,
)


class Bank:
    """Accounts, and the functions over them.

    Attributes:
        functions: by path.
        open: lets the slow functions run.
        waiting: a slow function has been called.
    """

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.waiting = asyncio.Event()
        self._accounts: dict[str, float] = {}
        self.functions = {
            "bank:balance": Function("query", self._balance),
            "bank:deposit": Function("mutation", self._deposit),
            "bank:withdraw": Function("mutation", self._withdraw),
            "bank:transfer": Function("mutation", self._transfer),
            "bank:slowDeposit": Function("mutation", self._deposit, self._wait),
            "bank:broken": Function("query", self._broken),
            "bank:brokenMutation": Function("mutation", self._broken),
            "bank:refused": Function("query", self._refused),
            "bank:report": Function("action", self._report),
            "bank:slowReport": Function("action", self._report, self._wait),
            "bank:echo": Function("query", lambda call: call.args["value"]),
            "bank:nothing": Function("mutation", lambda call: None),
            "bank:whoami": Function("query", lambda call: call.owner),
            "bank:letter": Function("query", self._letter),
            "bank:default": Function("query", lambda call: "the bank"),
        }

    async def _wait(self) -> None:
        self.waiting.set()
        await self.open.wait()

    def _balance(self, call: Call) -> Any:
        return self._accounts.get(call.args["account"])

    def _deposit(self, call: Call) -> Any:
        call.log_lines.append("[LOG] 'deposited'")
        account = call.args["account"]
        balance = self._accounts.get(account, 0) + call.args["amount"]
        self._accounts[account] = balance
        return balance

    def _withdraw(self, call: Call) -> Any:
        account, amount = call.args["account"], call.args["amount"]
        if self._accounts.get(account, 0) < amount:
            call.log_lines.append("[WARN] 'too poor'")
            raise ConvexError({"code": 42})
        self._accounts[account] -= amount
        return self._accounts[account]

    def _transfer(self, call: Call) -> Any:
        amount = call.args["amount"]
        self._accounts[call.args["from"]] -= amount
        self._accounts[call.args["to"]] += amount

    def _broken(self, call: Call) -> Any:
        raise FunctionFailed("Uncaught Error: the vault is shut")

    def _refused(self, call: Call) -> Any:
        raise ConvexError(call.args.get("data"))

    def _report(self, call: Call) -> Any:
        return dict(self._accounts)

    def _letter(self, call: Call) -> Any:
        return "ä" * int(call.args["length"])
