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
use super::failure::Failure;

/// The ops that have not completed yet, so that each can be cancelled and a scope can be closed.
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
            // Dropped uncompleted, it completes as cancelled.
            Running::Parked(parked) => drop(parked.take()),
        }
    }
}

/// Completes an op exactly once: dropped uncompleted (its task was aborted), it completes as cancelled.
pub struct Completer {
    op: u64,
    done: dyn_done,
    user: *mut c_void,
}

// SAFETY: `user` is only handed back to `done`, which the caller promises may run on any thread.
unsafe impl Send for Completer {}

impl Completer {
    pub fn complete(mut self, result: Result<Reply, Failure>) {
        self.finish(result);
    }

    fn finish(&mut self, result: Result<Reply, Failure>) {
        if let Some(done) = self.done.take() {
            RUNNING.lock().remove(&self.op);
            unsafe { done(self.user, dyn_reply::from(result)) };
        }
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        self.finish(Err(Failure::cancelled("the operation was cancelled")));
    }
}

/// An op without a task of its own: whoever has what it waits for takes the completer and completes it.
pub struct Parked(Mutex<Option<Completer>>);

impl Parked {
    /// Given once; nothing where the op was cancelled meanwhile.
    pub fn take(&self) -> Option<Completer> {
        self.0.lock().take()
    }
}

/// The body of an asynchronous entry whose op is completed by others; a failure of `body` completes it here. `body` must
/// not block.
pub unsafe fn park(call: *const dyn_call, body: impl FnOnce(&Call, Arc<Parked>) -> Result<(), Failure>) {
    let raw = unsafe { &*call };
    let completer = Completer { op: raw.op, done: raw.done, user: raw.user };
    let parked = Arc::new(Parked(Mutex::new(Some(completer))));
    RUNNING.lock().insert(raw.op, (raw.scope, Running::Parked(parked.clone())));
    let call = unsafe { Call::new(call) };
    if let Err(failure) = guarded(|| body(&call, parked.clone()))
        && let Some(completer) = parked.take()
    {
        completer.complete(Err(failure));
    }
}

/// The body of an asynchronous entry: `body` runs on the calling thread and must copy what it needs out of the call; the
/// future that it gives runs on the process's tokio runtime. A failure of `body` also comes through `done`.
pub unsafe fn op<F>(call: *const dyn_call, body: impl FnOnce(&Call) -> Result<F, Failure>)
where
    F: Future<Output = Result<Reply, Failure>> + Send + 'static,
{
    unsafe { op_here_if(call, |_| false, body) }
}

/// Like `op`; where `here` says that the future may be ready, it is polled on the calling thread first, which it must not
/// hold up, and goes to the runtime only where it has to wait. That saves the wake of a sleeping thread. For what does have
/// to wait it is a loss: measured with requests, whose first poll costs the thread of JavaScript more than the wake.
pub unsafe fn op_here_if<F>(
    call: *const dyn_call,
    here: impl FnOnce(&Call) -> bool,
    body: impl FnOnce(&Call) -> Result<F, Failure>,
) where
    F: Future<Output = Result<Reply, Failure>> + Send + 'static,
{
    let raw = unsafe { &*call };
    let completer = Completer { op: raw.op, done: raw.done, user: raw.user };
    let call = unsafe { Call::new(call) };
    let started = guarded(|| Ok((here(&call), body(&call)?, crate::process::handle()?)));
    let (here, future, runtime) = match started {
        Ok(started) => started,
        Err(failure) => return completer.complete(Err(failure)),
    };
    // Boxed, so that there is one kind of task for all entries: each kind is compiled anew.
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
    // The entry is made before the task can finish: the lock is held across the spawn.
    let mut running = RUNNING.lock();
    let task = runtime.spawn(task);
    running.insert(raw.op, (raw.scope, Running::Task(task.abort_handle())));
}

/// Aborts an op: it completes as cancelled, unless it completes first. Idempotent; an unknown op is no error.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_op_cancel(op: u64) {
    let running = RUNNING.lock().get(&op).map(|(_, running)| running.clone());
    if let Some(running) = running {
        running.cancel();
    }
}

/// Aborts every op of a scope; each still completes once.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_scope_close(scope: u64) {
    let all: Vec<Running> =
        RUNNING.lock().values().filter(|(of, _)| *of == scope).map(|(_, running)| running.clone()).collect();
    for running in all {
        running.cancel();
    }
}
