//! The bytes of the blocks of a tier. They are in page-aligned memory, in a file, or in a region of native/nixl. Of a
//! region only the checksums are here.

use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::abi::Failure;

/// The layout of the bytes of a block: [layer][K and V][token][head][dimension]. Blocks are only copied between equal
/// layouts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Layout {
    layers: u64,
    /// 2 if K and V are separate, 1 if they are one tensor.
    outer: u64,
    /// Tokens in a block.
    page_size: u64,
    heads: u64,
    head_dim: u64,
    element_type: String,
}

impl Layout {
    fn element_bytes(&self) -> Result<u64, Failure> {
        Ok(match self.element_type.as_str() {
            "float32" => 4,
            "float16" | "bfloat16" => 2,
            "float8" | "int8" => 1,
            other => {
                return Err(Failure::invalid(format!(
                    "layout.elementType: expected float32, float16, bfloat16, float8 or int8, got {other}"
                )));
            }
        })
    }

    pub fn block_bytes(&self) -> Result<usize, Failure> {
        let sizes = [self.layers, self.outer, self.page_size, self.heads, self.head_dim, self.element_bytes()?];
        let bytes = sizes.into_iter().try_fold(1u64, u64::checked_mul).filter(|bytes| (1..1 << 40).contains(bytes));
        bytes
            .map(|bytes| bytes as usize)
            .ok_or_else(|| Failure::invalid(format!("layout: the size of a block of {self:?} is out of range")))
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum StorageArgs {
    Memory {
        checksums: bool,
    },
    /// A new file without a name, which the kernel removes when its last user ends, however that is.
    File {
        path: PathBuf,
        checksums: bool,
    },
    Region {
        checksums: bool,
    },
}

struct Mapping {
    start: *mut u8,
    len: usize,
}

// SAFETY: plain memory. The block guards determine which code may access which block.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Zeroed memory. Pages that are not used yet take no space.
    fn new(len: usize, what: &str) -> Result<Self, Failure> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        Self::with(len, what, libc::PROT_READ | libc::PROT_WRITE, flags)
    }

    fn with(len: usize, what: &str, access: i32, flags: i32) -> Result<Self, Failure> {
        // SAFETY: a new mapping, which overlaps no other.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            let error = std::io::Error::last_os_error();
            return Err(Failure::new(
                "CapacityExhausted",
                "kvbm.memory",
                format!("there is no memory for {len} bytes of {what}: {error}"),
            ));
        }
        Ok(Self { start: start.cast(), len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length. Every user of the memory keeps the storage alive.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

/// Fails if the process cannot have `bytes` more bytes. The allocations of the crates abort the process instead.
pub fn check_memory(bytes: usize, what: &str) -> Result<(), Failure> {
    let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    Mapping::with(bytes, what, access, flags).map(drop)
}

/// Checksums in zeroed memory. A `Vec` of them would abort the process if there is too little memory.
struct Checksums(Mapping);

impl Checksums {
    fn new(count: usize) -> Result<Self, Failure> {
        let bytes = count
            .checked_mul(size_of::<AtomicU64>())
            .ok_or_else(|| Failure::invalid("blockCount: the blocks' checksums do not fit"))?;
        Mapping::new(bytes, "checksums").map(Self)
    }

    fn all(&self) -> &[AtomicU64] {
        // SAFETY: a mapping is aligned to a page, lives as long as `self`, and has this many words. All bytes zero is a
        // valid AtomicU64.
        unsafe { std::slice::from_raw_parts(self.0.start.cast(), self.0.len / size_of::<AtomicU64>()) }
    }
}

enum Place {
    Memory(Mapping),
    File { file: File, path: PathBuf },
    Region,
}

pub struct Storage {
    place: Place,
    pub layout: Layout,
    pub block_bytes: usize,
    /// By block and layer, because layers are copied separately. 0 means none.
    checksums: Option<Checksums>,
}

/// The class and the words of an error of a file.
fn failed(what: &str, error: Error) -> Failure {
    let (class, reason, words) = match (error.raw_os_error(), error.kind()) {
        (Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG), _) => {
            ("CapacityExhausted", "kvbm.file_full", "the disk, the quota or the file is full")
        }
        (_, ErrorKind::NotFound) => ("NotFound", "kvbm.file_not_found", "its folder does not exist"),
        (_, ErrorKind::AlreadyExists) => ("Conflict", "kvbm.file_exists", "expected a path that does not exist"),
        (_, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            ("PermissionDenied", "kvbm.file_denied", "this process may not write to its folder")
        }
        (_, ErrorKind::UnexpectedEof) => {
            ("Internal", "kvbm.file_truncated", "the file ends before the block: something else truncated it")
        }
        _ => ("Internal", "kvbm.io", "the file cannot be used"),
    };
    Failure::new(class, reason, format!("{what}: {words} ({error})"))
}

/// Creates a file that only this process can open. It has no name, so that a killed process leaves none behind.
fn nameless(path: &Path) -> Result<File, Error> {
    let options = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        options
    };
    if fs::symlink_metadata(path).is_ok() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(file) = options().custom_flags(libc::O_TMPFILE).open(folder) {
        return Ok(file);
    }
    // Not every file system has files without a name.
    let file = options().create_new(true).open(path)?;
    fs::remove_file(path)?;
    Ok(file)
}

fn checksum(bytes: &[u8]) -> u64 {
    dynamo_tokens::compute_hash_v2(bytes, 0).max(1)
}

impl Storage {
    pub fn create(args: &StorageArgs, layout: &Layout, blocks: usize) -> Result<Self, Failure> {
        let block_bytes = layout.block_bytes()?;
        let len = block_bytes
            .checked_mul(blocks)
            .ok_or_else(|| Failure::invalid("blockCount: the blocks' bytes do not fit"))?;
        let (place, checksums) = match args {
            StorageArgs::Memory { checksums } => (Place::Memory(Mapping::new(len, "blocks")?), *checksums),
            StorageArgs::File { path, checksums } => {
                let what = path.display().to_string();
                let file = nameless(path).map_err(|error| failed(&what, error))?;
                file.set_len(len as u64).map_err(|error| failed(&what, error))?;
                (Place::File { file, path: path.clone() }, *checksums)
            }
            StorageArgs::Region { checksums } => (Place::Region, *checksums),
        };
        let checksums = checksums.then(|| Checksums::new(blocks * layout.layers as usize)).transpose()?;
        Ok(Self { place, layout: layout.clone(), block_bytes, checksums })
    }

    pub fn layers(&self) -> usize {
        self.layout.layers as usize
    }

    pub fn layer_bytes(&self) -> usize {
        self.block_bytes / self.layers()
    }

    /// The offset of some layers of a block.
    fn start(&self, block: usize, layers: &Range<usize>) -> usize {
        block * self.block_bytes + layers.start * self.layer_bytes()
    }

    fn kept(&self, block: usize, layers: Range<usize>) -> Option<&[AtomicU64]> {
        let first = block * self.layers();
        self.checksums.as_ref().map(|checksums| &checksums.all()[first + layers.start..first + layers.end])
    }

    /// Computes the checksums of bytes, one for each layer.
    pub fn digest(&self, bytes: &[u8]) -> impl Iterator<Item = u64> {
        bytes.chunks_exact(self.layer_bytes()).map(checksum)
    }

    /// The address of a block, if the storage is memory.
    pub fn address(&self, block: usize) -> Option<*mut u8> {
        match &self.place {
            // SAFETY: `block` is a block of the manager of this storage.
            Place::Memory(region) => Some(unsafe { region.start.add(block * self.block_bytes) }),
            Place::File { .. } | Place::Region => None,
        }
    }

    /// The address and the length of the whole storage, if it is memory.
    pub fn memory(&self) -> Option<(*mut u8, usize)> {
        match &self.place {
            Place::Memory(region) => Some((region.start, region.len)),
            Place::File { .. } | Place::Region => None,
        }
    }

    /// The failure of a storage that is not memory.
    pub fn no_memory(&self) -> Failure {
        let got = if matches!(self.place, Place::Region) { "a region" } else { "a file" };
        Failure::invalid(format!("storage: expected memory, got {got}, which has no views"))
    }

    /// The bytes of a block, if the storage is memory.
    ///
    /// # Safety
    /// No code may write to the block while the slice exists.
    pub unsafe fn bytes(&self, block: usize) -> Option<&[u8]> {
        // SAFETY: the memory of a block, which lives as long as the storage.
        self.address(block).map(|address| unsafe { std::slice::from_raw_parts(address, self.block_bytes) })
    }

    /// Stores the checksums of a block that is completely written.
    pub fn seal(&self, block: usize) {
        if self.checksums.is_none() {
            return;
        }
        // SAFETY: a staged block is not written to.
        if let Some(bytes) = unsafe { self.bytes(block) } {
            self.note(block, 0..self.layers(), self.digest(bytes));
        }
    }

    /// Stores the checksums of some layers of a block.
    pub fn note(&self, block: usize, layers: Range<usize>, checksums: impl Iterator<Item = u64>) {
        for (kept, checksum) in self.kept(block, layers).unwrap_or_default().iter().zip(checksums) {
            kept.store(checksum, Ordering::Release);
        }
    }

    /// Clears the checksums of a block that is allocated again.
    pub fn forget(&self, block: usize) {
        self.note(block, 0..self.layers(), std::iter::repeat(0));
    }

    /// The stored checksums of a block, one for each layer. 0 means none.
    pub fn checksums(&self, block: usize) -> impl Iterator<Item = u64> {
        let kept = self.kept(block, 0..self.layers());
        (0..self.layers()).map(move |layer| kept.map_or(0, |kept| kept[layer].load(Ordering::Acquire)))
    }

    /// Reads some layers of a registered block and verifies their checksums. The block must not be written during the
    /// call.
    pub fn read(&self, block: usize, layers: Range<usize>, into: &mut [u8]) -> Result<(), Failure> {
        let start = self.start(block, &layers);
        match &self.place {
            Place::Memory(region) => {
                // SAFETY: within the block. `into` is a different allocation.
                unsafe { std::ptr::copy_nonoverlapping(region.start.add(start), into.as_mut_ptr(), into.len()) };
            }
            Place::File { file, path } => {
                file.read_exact_at(into, start as u64)
                    .map_err(|error| failed(&format!("block {block} of {}", path.display()), error))?;
            }
            Place::Region => return Err(self.no_memory()),
        }
        let kept = self.kept(block, layers).unwrap_or_default();
        if kept.iter().zip(self.digest(into)).any(|(wanted, got)| wanted.load(Ordering::Acquire) != got) {
            return Err(Failure::new(
                "Internal",
                "kvbm.checksum",
                format!("block {block}: its bytes do not match their checksum"),
            ));
        }
        Ok(())
    }

    /// Writes some layers of a mutable block that the caller owns, and stores their checksums.
    pub fn write(&self, block: usize, layers: Range<usize>, bytes: &[u8]) -> Result<(), Failure> {
        let start = self.start(block, &layers);
        match &self.place {
            Place::Memory(region) => {
                // SAFETY: within the block. `bytes` is a different allocation.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), region.start.add(start), bytes.len()) };
            }
            Place::File { file, path } => {
                file.write_all_at(bytes, start as u64)
                    .map_err(|error| failed(&format!("block {block} of {}", path.display()), error))?;
            }
            Place::Region => return Err(self.no_memory()),
        }
        if self.checksums.is_some() {
            self.note(block, layers, self.digest(bytes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
