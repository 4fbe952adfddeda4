"""Is a history of calls and answers what some sequential object could have given?"""

from __future__ import annotations

from .check import NotLinearizable, check_linearizable
from .operation import UNANSWERED, Model, Operation
from .search import SearchTooLong

__all__ = [
    "UNANSWERED",
    "Model",
    "NotLinearizable",
    "Operation",
    "SearchTooLong",
    "check_linearizable",
]
