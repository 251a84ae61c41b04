use std::collections::HashMap;
use std::ffi::c_void;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::call::{Call, Reply, dyn_call, dyn_done, dyn_reply, guarded};
use crate::failure::Failure;

/// The operations that have not completed, by id, with their scope. They can be cancelled one by one or by scope.
static RUNNING: LazyLock<Mutex<HashMap<u64, (u64, Running)>>> = LazyLock::new(Default::default);

#[derive(Clone)]
enum Running {
    Task(AbortHandle),
    Parked(Arc<Parked>),
}

impl Running {
    fn cancel(self) {
        match self {
            Running::Task(task) => task.abort(),
            // An uncompleted completer that is dropped completes as cancelled.
            Running::Parked(parked) => drop(parked.take()),
        }
    }
}

/// Completes an operation exactly once. If it is dropped before (its task was aborted), the operation completes as
/// cancelled.
pub struct Completer {
    op: u64,
    done: dyn_done,
    user: *mut c_void,
}

// SAFETY: `user` is only passed to `done`, and the caller guarantees that `done` may run on any thread.
unsafe impl Send for Completer {}

impl Completer {
    pub fn complete(mut self, result: Result<Reply, Failure>) {
        self.finish(result);
    }

    fn finish(&mut self, result: Result<Reply, Failure>) {
        if let Some(done) = self.done.take() {
            RUNNING.lock().remove(&self.op);
            // SAFETY: the promise of the `dyn_call`. It runs once, because it was taken.
            unsafe { done(self.user, dyn_reply::from(result)) };
        }
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        self.finish(Err(Failure::cancelled("the operation was cancelled")));
    }
}

/// An operation without a task. The code that produces its result takes the completer and completes it.
pub struct Parked(Mutex<Option<Completer>>);

impl Parked {
    /// The completer, once. `None` if it was taken or the operation was cancelled.
    pub fn take(&self) -> Option<Completer> {
        self.0.lock().take()
    }
}

/// The body of an asynchronous entry whose operation other code completes. A failure of `body` completes it at once.
/// `body` must not block.
pub fn park(raw: &dyn_call, body: impl FnOnce(&Call, Arc<Parked>) -> Result<(), Failure>) {
    let completer = Completer { op: raw.op, done: raw.done, user: raw.user };
    let parked = Arc::new(Parked(Mutex::new(Some(completer))));
    RUNNING.lock().insert(raw.op, (raw.scope, Running::Parked(parked.clone())));
    let call = Call::new(raw);
    if let Err(failure) = guarded(|| body(&call, parked.clone()))
        && let Some(completer) = parked.take()
    {
        completer.complete(Err(failure));
    }
}

/// The body of an asynchronous entry. `body` runs on the calling thread and copies what it needs out of the call. It
/// returns a future, which runs on the tokio runtime of the process. A failure of `body` is also reported through
/// `done`.
pub fn op<F>(call: &dyn_call, body: impl FnOnce(&Call) -> Result<F, Failure>)
where
    F: Future<Output = Result<Reply, Failure>> + Send + 'static,
{
    op_here_if(call, |_| false, body)
}

/// Like `op`, for a future that may be ready. If `here` returns true, the future is polled on the calling thread first,
/// and must not block it. It moves to the runtime only if it has to wait. This saves the wake-up of a sleeping thread.
/// It does not pay for futures that usually wait: the first poll of a request costs the JavaScript thread more than the
/// wake-up.
pub fn op_here_if<F>(raw: &dyn_call, here: impl FnOnce(&Call) -> bool, body: impl FnOnce(&Call) -> Result<F, Failure>)
where
    F: Future<Output = Result<Reply, Failure>> + Send + 'static,
{
    let completer = Completer { op: raw.op, done: raw.done, user: raw.user };
    let call = Call::new(raw);
    let started = guarded(|| Ok((here(&call), body(&call)?, crate::process::handle()?)));
    let (here, future, runtime) = match started {
        Ok(started) => started,
        Err(failure) => return completer.complete(Err(failure)),
    };
    // Boxed, so that all entries share one type of task. Each type of task is compiled separately.
    let mut future: Task = Box::pin(async move {
        let result = std::panic::AssertUnwindSafe(future).catch_unwind().await;
        completer.complete(result.unwrap_or_else(|panic| Err(Failure::panic(panic))));
    });
    if here {
        let _entered = runtime.enter();
        if (&mut future).now_or_never().is_some() {
            return;
        }
    }
    spawn(raw, &runtime, future);
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

fn spawn(raw: &dyn_call, runtime: &Handle, task: Task) {
    // The lock is held across the spawn, so that the task is listed before it can finish.
    let mut running = RUNNING.lock();
    let task = runtime.spawn(task);
    running.insert(raw.op, (raw.scope, Running::Task(task.abort_handle())));
}

/// Aborts an operation. It completes as cancelled, unless it completes first. Idempotent. An unknown id is not an
/// error.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_op_cancel(op: u64) {
    let running = RUNNING.lock().get(&op).map(|(_, running)| running.clone());
    if let Some(running) = running {
        running.cancel();
    }
}

/// Aborts every operation of a scope. Each of them still completes once.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_scope_close(scope: u64) {
    let all: Vec<Running> =
        RUNNING.lock().values().filter(|(of, _)| *of == scope).map(|(_, running)| running.clone()).collect();
    for running in all {
        running.cancel();
    }
}

#[cfg(test)]
mod tests;
