"""Everybody one job, one job at a time, and cancelling."""

from __future__ import annotations

import threading

import pytest

from speechkit.demo.desk import BusyError, CancelledError, Desk

SOON_SECONDS = 20.0


def test_a_second_job_of_a_session_is_refused_until_the_first_ends() -> None:
    desk = Desk(4)
    with desk.job("a"), pytest.raises(BusyError, match="already have a job"), desk.job("a"):
        pass
    with desk.job("a"):
        assert desk.jobs == 1
    assert desk.jobs == 0


def test_a_cancelled_job_stops_at_its_next_check_and_makes_room() -> None:
    desk = Desk(4)
    with desk.job("a") as ticket:
        ticket.check()
        assert desk.cancel("a") == 1
        with pytest.raises(CancelledError):
            ticket.check()
        # The next job need not wait until the cancelled one has noticed.
        assert desk.cancel("b") == 0
    assert desk.jobs == 0
    with desk.job("a") as ticket:
        ticket.check()


def test_a_job_that_fails_frees_the_desk() -> None:
    desk = Desk(4)
    with pytest.raises(ZeroDivisionError), desk.job("a"):
        raise ZeroDivisionError
    assert desk.jobs == 0


def test_too_many_jobs_are_turned_away() -> None:
    desk = Desk(0)
    with desk.job("a"), pytest.raises(BusyError, match="Too many"), desk.job("b"):
        pass


def test_jobs_of_several_sessions_run_one_after_the_other_in_order() -> None:
    desk, order, told = Desk(8), list[str](), list[int]()
    running = 0

    def work(name: str) -> None:
        nonlocal running
        with desk.job(name, told.append):
            running += 1
            assert running == 1
            order.append(name)
            running -= 1

    threads = []
    with desk.job("first"):
        for number in range(4):
            threads.append(threading.Thread(target=work, args=(f"{number}",)))
            threads[-1].start()
            while desk.jobs < 2 + number:
                threads[-1].join(0.01)
        assert order == []
    for thread in threads:
        thread.join(SOON_SECONDS)
    assert order == ["0", "1", "2", "3"]
    assert set(told) <= {1, 2, 3, 4}
    assert told


def test_a_waiting_job_is_cancelled_while_it_waits() -> None:
    desk, ended = Desk(4), threading.Event()

    def wait() -> None:
        with pytest.raises(CancelledError), desk.job("b"):
            pass
        ended.set()

    with desk.job("a"):
        thread = threading.Thread(target=wait)
        thread.start()
        while desk.jobs < 2:
            thread.join(0.01)
        desk.cancel("b")
        assert ended.wait(SOON_SECONDS)
        assert desk.jobs == 1
