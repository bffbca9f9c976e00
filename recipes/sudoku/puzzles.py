"""Sudoku puzzles with one solution each. In: a generator and how many cells are given. Out: a puzzle and its solution.

A grid is a sequence of 81 digits, row by row; 0 is an empty cell. The solver keeps the digits of every row, column and box as
bits, and goes on with the empty cell that has the fewest candidates (the branching of Knuth 2000, "Dancing links"). To make
a puzzle, an empty grid is filled with digits in random order; then one cell after another is taken away in random order, but none
without which there would be a second solution.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final

SIZE: Final = 9
NUM_CELLS: Final = 81
ALL: Final = 0b111111111
ROW: Final = tuple(cell // 9 for cell in range(81))
COLUMN: Final = tuple(cell % 9 for cell in range(81))
BOX: Final = tuple(cell // 27 * 3 + cell % 9 // 3 for cell in range(81))
FEWEST_GIVENS: Final = 17  # no puzzle with fewer has one solution (McGuire et al. 2014)
MOST_GRIDS: Final = 1000  # tried for one puzzle

Grid = tuple[int, ...]


def puzzle(generator: random.Random, num_givens: int) -> tuple[Grid, Grid]:
    """(puzzle, its only solution), with exactly num_givens cells given.

    Raises ValueError for a number that no puzzle has, or that was not reached from MOST_GRIDS grids (below 24 it seldom is).
    """
    if not FEWEST_GIVENS <= num_givens <= NUM_CELLS:
        raise ValueError(
            f"num_givens is {num_givens}. A puzzle has {FEWEST_GIVENS} to {NUM_CELLS} cells that are given."
        )
    for _ in range(MOST_GRIDS):
        solution = next(solutions([0] * NUM_CELLS, generator))
        found = _emptied(solution, generator, num_givens)
        if found.count(0) == NUM_CELLS - num_givens:
            return found, solution
    raise ValueError(
        f"No puzzle with {num_givens} given cells was found in {MOST_GRIDS} grids. Ask for more: 24 are found soon."
    )


def solutions(grid: Sequence[int], generator: random.Random | None = None) -> Iterator[Grid]:
    """Every solution of a grid, one after another; none where two equal digits already share a unit.

    generator: tries digits in random order; None: the smallest first.
    """
    board = Board(grid)
    if board.is_possible:
        yield from board.solve(generator)


def is_unique(grid: Sequence[int]) -> bool:
    """Whether a grid has exactly one solution."""
    found = solutions(grid)
    return next(found, None) is not None and next(found, None) is None


def is_solution(grid: Sequence[int], puzzle: Sequence[int]) -> bool:
    """Whether a whole grid has every digit once in each unit, and the puzzle's cells as they were given."""
    units = [
        [cell for cell in range(NUM_CELLS) if where[cell] == unit] for where in (ROW, COLUMN, BOX) for unit in range(9)
    ]
    keeps = all(given in (0, digit) for given, digit in zip(puzzle, grid, strict=True))
    return keeps and all(sorted(grid[cell] for cell in unit) == list(range(1, 10)) for unit in units)


class Board:
    """A grid on the way to its solution. used: by unit, the digits in it as bits (digit d is bit d − 1)."""

    def __init__(self, grid: Sequence[int]) -> None:
        """grid: 81 digits, 0 for an empty cell. Raises ValueError for anything else."""
        if len(grid) != NUM_CELLS or not all(0 <= digit <= SIZE for digit in grid):
            raise ValueError(f"A grid has {NUM_CELLS} digits from 0 to {SIZE}, and this one is {list(grid)!r:.60}.")
        self.cells = list(grid)
        self.rows, self.columns, self.boxes = [0] * 9, [0] * 9, [0] * 9
        self.empty = [cell for cell in range(NUM_CELLS) if not grid[cell]]
        self.is_possible = all(self._enter(cell, grid[cell]) for cell in range(NUM_CELLS) if grid[cell])

    def candidates(self, cell: int) -> int:
        """The digits that no other cell of its units has, as bits."""
        return ALL & ~(self.rows[ROW[cell]] | self.columns[COLUMN[cell]] | self.boxes[BOX[cell]])

    def solve(self, generator: random.Random | None) -> Iterator[Grid]:
        """Fill the empty cells in every way that fits."""
        if not self.empty:
            yield tuple(self.cells)
            return
        cell = self._fewest()
        digits = [digit for digit in range(1, 10) if self.candidates(cell) >> (digit - 1) & 1]
        if generator is not None:
            generator.shuffle(digits)
        self.empty.remove(cell)
        for digit in digits:
            self._enter(cell, digit)
            yield from self.solve(generator)
            self.clear(cell)
        self.empty.append(cell)

    def clear(self, cell: int) -> int:
        """Take the digit of a cell away; which it was."""
        digit, self.cells[cell] = self.cells[cell], 0
        bit = 1 << (digit - 1)
        self.rows[ROW[cell]] ^= bit
        self.columns[COLUMN[cell]] ^= bit
        self.boxes[BOX[cell]] ^= bit
        return digit

    def try_empty(self, cell: int) -> None:
        """Take the digit of a cell away, unless the grid then has a second solution. The grid has one solution before."""
        digit = self.clear(cell)
        others = self.candidates(cell) & ~(1 << (digit - 1))
        self.empty.append(cell)
        if not others or self._is_only_place(cell, digit):
            return  # every solution has the same digit there, so it solves the grid from before too
        self.empty.remove(cell)
        for other in range(1, 10):
            if others >> (other - 1) & 1:
                self._enter(cell, other)
                has_second = next(Board(self.cells).solve(None), None) is not None
                self.clear(cell)
                if has_second:
                    self._enter(cell, digit)
                    return
        self.empty.append(cell)

    def _enter(self, cell: int, digit: int) -> bool:
        """Put a digit into a cell, if no other of its units has it; whether it was put there."""
        bit = 1 << (digit - 1)
        if not self.candidates(cell) & bit:
            return False
        self.cells[cell] = digit
        self.rows[ROW[cell]] |= bit
        self.columns[COLUMN[cell]] |= bit
        self.boxes[BOX[cell]] |= bit
        return True

    def _fewest(self) -> int:
        best, fewest = self.empty[0], SIZE + 1
        for cell in self.empty:
            count = self.candidates(cell).bit_count()
            if count < fewest:
                best, fewest = cell, count
                if count < 2:
                    break
        return best

    def _is_only_place(self, cell: int, digit: int) -> bool:
        """Whether in one of the cell's units no other empty cell could hold the digit."""
        bit = 1 << (digit - 1)
        places = [other for other in self.empty if other != cell and self.candidates(other) & bit]
        return any(all(where[other] != where[cell] for other in places) for where in (ROW, COLUMN, BOX))


def _emptied(solution: Grid, generator: random.Random, num_givens: int) -> Grid:
    """The solution without as many cells as can be taken away, but at least num_givens left."""
    board = Board(solution)
    order = list(range(NUM_CELLS))
    generator.shuffle(order)
    for cell in order:
        if len(board.empty) == NUM_CELLS - num_givens:
            break
        board.try_empty(cell)
    return tuple(board.cells)
