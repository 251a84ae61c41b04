//! Discovery in a folder. The crates renew the files of a process by opening them, and only log an error if they
//! cannot. Others would remove those of a process without free file descriptors after its lease. Here they are renewed
//! by their paths. If a process is paused beyond its lease, others do remove its files. These are restored here.
//!
//! The crates do not say which files are theirs, but each error names one. Source: dynamo-runtime
//! `storage/kv/file.rs`, `Directory::keep_alive`.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{self, DirEntry, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata};
use tracing_subscriber::layer::{Context, Layer};

/// The crates' log of the files.
const TARGET: &str = "dynamo_runtime::storage::kv::file";
const LOST: &str = "FileStore::keep_alive failed opening owned file";
/// The start of the names of files that are not complete.
const TEMPORARY: &str = ".tmp_";

const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A file that was missing in this many looks is forgotten. The crates report a lost file within 4 seconds.
const MAX_MISSES: u32 = 60;
const MAX_FILE_BYTES: u64 = 4 << 20;

static REPORTED: LazyLock<broadcast::Sender<PathBuf>> = LazyLock::new(|| broadcast::channel(256).0);

/// Whether a line of the log may report a lost file.
pub fn is_report(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && *metadata.level() == Level::ERROR && metadata.target() == TARGET
}

/// Passes the reports of lost files on.
pub struct RestoreFiles;

#[derive(Default)]
struct Report {
    path: Option<PathBuf>,
    is_lost: bool,
}

impl Visit for Report {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => self.is_lost = format!("{value:?}") == LOST,
            "path" => self.path = Some(format!("{value:?}").into()),
            _ => {}
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for RestoreFiles {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if !is_report(event.metadata()) {
            return;
        }
        let mut report = Report::default();
        event.record(&mut report);
        if let (true, Some(path)) = (report.is_lost, report.path) {
            // Without a receiver there is no runtime that could restore it.
            let _ = REPORTED.send(path);
        }
    }
}

struct Seen {
    inode: u64,
    content: Vec<u8>,
    misses: u32,
}

/// What the files of a discovery folder contain, so that lost ones can be written again.
pub struct LostFiles {
    root: PathBuf,
    seen: HashMap<PathBuf, Seen>,
}

impl LostFiles {
    pub fn new(root: PathBuf) -> Self {
        Self { root, seen: HashMap::new() }
    }

    /// Restores lost files until the runtime ends.
    pub async fn watch(mut self, end: CancellationToken) {
        let mut reported = REPORTED.subscribe();
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                path = reported.recv() => match path {
                    Ok(path) => tokio::task::block_in_place(|| self.renew(&path)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                _ = looks.tick() => tokio::task::block_in_place(|| self.look()),
            }
        }
    }

    /// Reads the files that are new. A file is replaced and never changed, so that a known inode has known content.
    fn look(&mut self) {
        // The crates report canonical paths.
        let Ok(root) = self.root.canonicalize() else { return };
        // Without a free file descriptor nothing is seen, and nothing is missing.
        let Ok(versions) = fs::read_dir(&root) else { return };
        for seen in self.seen.values_mut() {
            seen.misses += 1;
        }
        let folders = versions.filter_map(Result::ok).flat_map(|version| entries(&version.path()));
        for entry in folders.flat_map(|bucket| entries(&bucket.path())) {
            let path = entry.path();
            let inode = entry.ino();
            if let Some(seen) = self.seen.get_mut(&path).filter(|seen| seen.inode == inode) {
                seen.misses = 0;
            } else if let Some(content) = content(&entry) {
                self.seen.insert(path, Seen { inode, content, misses: 0 });
            }
        }
        self.seen.retain(|_, seen| seen.misses <= MAX_MISSES);
    }

    /// Renews a file that the crates could not open, or restores it if it was removed.
    fn renew(&self, path: &Path) {
        match touch(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => self.restore(path),
            Err(error) => tracing::error!(path = %path.display(), %error, "could not renew a file"),
            Ok(()) => {}
        }
    }

    fn restore(&self, path: &Path) {
        let Some(seen) = self.seen.get(path) else { return };
        match write(path, &seen.content) {
            Ok(()) => {
                tracing::warn!(path = %path.display(), "restored a file that was removed while this process was paused")
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => tracing::error!(path = %path.display(), %error, "could not restore a removed file"),
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok)
}

fn content(entry: &DirEntry) -> Option<Vec<u8>> {
    let is_complete = !entry.file_name().to_string_lossy().starts_with(TEMPORARY);
    // Of a link this is false.
    let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
    let fits = entry.metadata().is_ok_and(|metadata| metadata.len() <= MAX_FILE_BYTES);
    if is_complete && is_file && fits { fs::read(entry.path()).ok() } else { None }
}

/// Sets the time of the last change to now. Unlike the functions of the standard library it needs no file descriptor.
fn touch(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a live string that ends with a zero. Without times the system uses the current one.
    let failed = unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), std::ptr::null(), libc::AT_SYMLINK_NOFOLLOW) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Creates a file that others see only when it is complete.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_file_name(format!("{TEMPORARY}{}", uuid::Uuid::new_v4().simple()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let linked = file.write_all(content).and_then(|()| fs::hard_link(&temporary, path));
    let _ = fs::remove_file(&temporary);
    linked
}

#[cfg(test)]
mod tests;
