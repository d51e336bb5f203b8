//! The threads that read ahead of a walk, and the tasks they share with its consumer.
//!
//! A task belongs to whoever claims it first. The consumer claims what it needs and nobody has begun, so no order of
//! events can leave it waiting for something that is not being worked on.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::visit::{Outcome, Work, visit};
use super::walk::{AHEAD_MAX, WalkOptions};
use crate::events::Stop;

/// A directory, or a part of a big one, to be read.
#[derive(Debug)]
pub(super) struct Task {
    work: Work,
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug)]
enum State {
    Pending,
    Running,
    /// Running, and the consumer waits for it.
    Awaited,
    Done(Outcome),
    Taken,
}

/// What the threads and the consumer share.
#[derive(Debug)]
pub(super) struct Ahead<'a> {
    options: &'a WalkOptions,
    stop: &'a Stop,
    queue: Mutex<Queue>,
    work_to_do: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// Parts of the big directory the consumer is in: first come, first served.
    parts: VecDeque<Arc<Task>>,
    /// Directories, the one the consumer will need first on top.
    directories: Vec<Arc<Task>>,
    /// Entries and names that are ready and not yet taken.
    ready: usize,
    idle: usize,
    closed: bool,
}

impl Task {
    pub(super) fn new(work: Work) -> Self {
        Self { work, state: Mutex::new(State::Pending), done: Condvar::new() }
    }

    fn claim(&self) -> bool {
        let mut state = lock(&self.state);
        let pending = matches!(*state, State::Pending);
        if pending {
            *state = State::Running;
        }
        pending
    }

    fn is_pending(&self) -> bool {
        matches!(*lock(&self.state), State::Pending)
    }
}

impl<'a> Ahead<'a> {
    pub(super) fn new(options: &'a WalkOptions, stop: &'a Stop) -> Self {
        Self { options, stop, queue: Mutex::default(), work_to_do: Condvar::new() }
    }

    pub(super) fn options(&self) -> &'a WalkOptions {
        self.options
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.requested()
    }

    /// Sends the threads home when the walk ends, however it ends.
    pub(super) fn close_on_drop(&self) -> impl Drop {
        Close(self)
    }

    /// Lets the threads read these directories, the first one first.
    pub(super) fn enqueue_directories(&self, children: &[(usize, Arc<Task>)]) {
        if children.is_empty() || self.options.threads == 0 {
            return;
        }
        let mut queue = lock(&self.queue);
        queue.directories.extend(children.iter().rev().map(|(_, task)| Arc::clone(task)));
        self.wake(&queue);
    }

    /// Lets a thread read a part of a big directory.
    pub(super) fn enqueue_part(&self, task: Arc<Task>) {
        if self.options.threads == 0 {
            return;
        }
        let mut queue = lock(&self.queue);
        queue.parts.push_back(task);
        self.wake(&queue);
    }

    /// Waking costs a system call, so only when somebody sleeps, may work, and has something to do.
    fn wake(&self, queue: &Queue) {
        let waiting = !queue.parts.is_empty() || !queue.directories.is_empty();
        if waiting && queue.idle > 0 && queue.ready < AHEAD_MAX {
            self.work_to_do.notify_all();
        }
    }

    /// What `task` comes to: done by a thread, or here and now. While a thread is at it, does something else of use.
    pub(super) fn take(&self, task: &Task, buffer: &mut Vec<u8>) -> Outcome {
        if task.claim() {
            let outcome = visit(&task.work, self.options, buffer);
            self.enqueue_found(&task.work, &outcome);
            return outcome;
        }
        loop {
            let mut state = lock(&task.state);
            if let State::Done(_) = *state {
                return self.receive(std::mem::replace(&mut *state, State::Taken));
            }
            drop(state);
            // In its own statement, so that the queue is not locked while the other task runs.
            let other = self.next_ready(&mut lock(&self.queue));
            if let Some(other) = other {
                self.run(&other, buffer);
                continue;
            }
            state = lock(&task.state);
            if matches!(*state, State::Running) {
                *state = State::Awaited;
            }
            while matches!(*state, State::Awaited) {
                state = task.done.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn receive(&self, state: State) -> Outcome {
        let State::Done(outcome) = state else { return Outcome::default() };
        let mut queue = lock(&self.queue);
        queue.ready = queue.ready.saturating_sub(outcome.weight());
        self.wake(&queue);
        outcome
    }

    /// The next task that nobody has begun, claimed for the caller, if there is room for what it will yield.
    fn next_ready(&self, queue: &mut Queue) -> Option<Arc<Task>> {
        if queue.ready >= AHEAD_MAX || self.stopped() {
            return None;
        }
        while let Some(task) = queue.parts.pop_front().or_else(|| queue.directories.pop()) {
            if task.claim() {
                return Some(task);
            }
        }
        None
    }

    fn run(&self, task: &Task, buffer: &mut Vec<u8>) {
        let mut finish = Finish { task, outcome: Outcome::default() };
        let outcome = visit(&task.work, self.options, buffer);
        self.enqueue_found(&task.work, &outcome);
        lock(&self.queue).ready += outcome.weight();
        finish.outcome = outcome;
    }

    /// Directories found in a directory are read next. Those in a part of a big one wait until the consumer is there:
    /// parts are read far ahead, and what lies below them would fill the room that nearer directories need.
    fn enqueue_found(&self, work: &Work, outcome: &Outcome) {
        if let (Work::Directory(_), Outcome::Chunk(chunk)) = (work, outcome) {
            self.enqueue_directories(&chunk.children);
        }
        let mut queue = lock(&self.queue);
        // What the consumer took itself lies on top; it must not pile up while the threads have no room to work.
        while queue.directories.last().is_some_and(|task| !task.is_pending()) {
            queue.directories.pop();
        }
    }

    /// The life of a thread.
    pub(super) fn work(&self) {
        let mut buffer = Vec::new();
        let mut queue = lock(&self.queue);
        while !queue.closed {
            if let Some(task) = self.next_ready(&mut queue) {
                drop(queue);
                self.run(&task, &mut buffer);
                queue = lock(&self.queue);
            } else {
                queue.idle += 1;
                queue = self.work_to_do.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
            }
        }
    }
}

/// Hands over the outcome of a task when it goes: a thread that panics does not leave the consumer waiting.
struct Finish<'a> {
    task: &'a Task,
    outcome: Outcome,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let outcome = std::mem::take(&mut self.outcome);
        let before = std::mem::replace(&mut *lock(&self.task.state), State::Done(outcome));
        if matches!(before, State::Awaited) {
            self.task.done.notify_one();
        }
    }
}

struct Close<'a, 'b>(&'a Ahead<'b>);

impl Drop for Close<'_, '_> {
    fn drop(&mut self) {
        lock(&self.0.queue).closed = true;
        self.0.work_to_do.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
