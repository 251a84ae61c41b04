use std::path::PathBuf;

use serde_json::json;

use super::{Layout, Storage, StorageArgs};

/// Two layers of 8 bytes.
fn layout() -> Layout {
    serde_json::from_value(json!({
        "layers": 2, "outer": 1, "pageSize": 2, "heads": 1, "headDim": 2, "elementType": "float16",
    }))
    .unwrap()
}

fn storage(args: &StorageArgs) -> Storage {
    Storage::create(args, &layout(), 3).unwrap()
}

fn file() -> PathBuf {
    std::env::temp_dir().join(format!("dynamo-core-{}-{:?}", std::process::id(), std::thread::current().id()))
}

fn read(storage: &Storage, block: usize) -> Vec<u8> {
    let mut bytes = vec![0; storage.block_bytes];
    storage.read(block, 0..storage.layers(), &mut bytes).unwrap();
    bytes
}

#[test]
fn computes_the_bytes_of_a_block() {
    assert_eq!(layout().block_bytes().unwrap(), 16);
}

#[test]
fn rejects_an_unknown_element_type_and_a_size_that_overflows() {
    let mut layout = layout();
    layout.heads = u64::MAX;
    assert!(layout.block_bytes().is_err());
    layout.element_type = "float12".into();
    assert!(layout.block_bytes().unwrap_err().message.starts_with("layout.elementType: "));
}

#[test]
fn reads_what_it_wrote_to_memory() {
    let storage = storage(&StorageArgs::Memory { checksums: true });
    let bytes: Vec<u8> = (0..16).collect();
    storage.write(1, 0..2, &bytes).unwrap();
    assert_eq!(read(&storage, 1), bytes);
}

#[test]
fn writes_single_layers() {
    let storage = storage(&StorageArgs::Memory { checksums: true });
    storage.write(0, 0..2, &[1; 16]).unwrap();
    storage.write(0, 1..2, &[2; 8]).unwrap();
    assert_eq!(read(&storage, 0), [[1; 8], [2; 8]].concat());
}

#[test]
fn fails_when_bytes_do_not_match_their_checksum() {
    let storage = storage(&StorageArgs::Memory { checksums: true });
    storage.write(0, 0..2, &[1; 16]).unwrap();
    // SAFETY: the block's memory, which no other thread knows.
    unsafe { storage.address(0).unwrap().write(9) };
    let mut bytes = [0; 16];
    assert_eq!(storage.read(0, 0..2, &mut bytes).unwrap_err().reason, "kvbm.checksum");
    storage.forget(0);
    assert!(storage.checksums(0).all(|checksum| checksum == 0));
}

#[test]
fn has_a_file_without_a_name() {
    let path = file();
    let storage = storage(&StorageArgs::File { path: path.clone(), checksums: false });
    storage.write(2, 0..2, &[3; 16]).unwrap();
    assert_eq!(read(&storage, 2), [3; 16]);
    assert!(storage.memory().is_none());
    assert!(!path.exists());
}

#[test]
fn does_not_replace_a_file() {
    let path = file().with_extension("taken");
    std::fs::write(&path, "kept").unwrap();
    let made = Storage::create(&StorageArgs::File { path: path.clone(), checksums: false }, &layout(), 1);
    assert_eq!(made.err().unwrap().reason, "kvbm.file_exists");
    assert_eq!(std::fs::read(&path).unwrap(), b"kept");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn names_the_error_of_a_file() {
    let path = std::env::temp_dir().join("dynamo-core-missing/blocks");
    let made = Storage::create(&StorageArgs::File { path, checksums: false }, &layout(), 1).err().unwrap();
    assert_eq!((made.class.as_str(), made.reason.as_str()), ("NotFound", "kvbm.file_not_found"));
    let full = super::failed("blocks", std::io::Error::from_raw_os_error(libc::ENOSPC));
    assert_eq!((full.class.as_str(), full.reason.as_str()), ("CapacityExhausted", "kvbm.file_full"));
}

#[test]
fn fails_if_there_is_too_little_memory() {
    let made = Storage::create(&StorageArgs::Memory { checksums: true }, &layout(), usize::MAX >> 8);
    assert_eq!(made.err().unwrap().class, "CapacityExhausted");
}

#[test]
fn has_no_bytes_of_a_region() {
    let storage = storage(&StorageArgs::Region { checksums: true });
    assert!(storage.write(0, 0..2, &[0; 16]).unwrap_err().message.contains("a region"));
}
