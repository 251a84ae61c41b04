use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::{LostFiles, MAX_MISSES};

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("dynamo-core-{name}-{}", std::process::id()));
    fs::create_dir_all(folder.join("v1/instances")).unwrap();
    folder.canonicalize().unwrap()
}

#[test]
fn restores_a_file_with_its_last_content() {
    let root = folder("restore");
    let path = root.join("v1/instances/a");
    fs::write(&path, "first").unwrap();
    let mut files = LostFiles::new(root.clone());
    files.look();
    // A file is replaced, as the crates do.
    fs::write(root.join("v1/instances/.tmp_1"), "second").unwrap();
    fs::rename(root.join("v1/instances/.tmp_1"), &path).unwrap();
    files.look();
    fs::remove_file(&path).unwrap();
    files.look();
    files.renew(&path);
    assert_eq!(fs::read(&path).unwrap(), b"second");
    files.renew(&root.join("v1/instances/unknown"));
    assert_eq!(fs::read_dir(root.join("v1/instances")).unwrap().count(), 1);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn forgets_a_file_that_stays_away_and_reads_no_links() {
    let root = folder("forget");
    let path = root.join("v1/instances/a");
    fs::write(&path, "content").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", root.join("v1/instances/link")).unwrap();
    let mut files = LostFiles::new(root.clone());
    files.look();
    assert_eq!(files.seen.len(), 1);
    fs::remove_file(&path).unwrap();
    for _ in 0..=MAX_MISSES {
        files.look();
    }
    assert!(files.seen.is_empty());
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn renews_a_file_that_still_exists() {
    let root = folder("renew");
    let path = root.join("v1/instances/a");
    fs::write(&path, "content").unwrap();
    let before = SystemTime::now() - Duration::from_secs(60);
    fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
    LostFiles::new(root.clone()).renew(&path);
    assert!(fs::metadata(&path).unwrap().modified().unwrap() > before + Duration::from_secs(30));
    assert_eq!(fs::read(&path).unwrap(), b"content");
    fs::remove_dir_all(root).unwrap();
}
