use super::{Call, DYN_NO_NUMBER, Reply, dyn_bytes_free, dyn_call, dyn_handles_free, dyn_reply, dyn_slice};
use crate::abi::handle::{Handle, dyn_handle_free};
use crate::failure::Failure;

fn slice(bytes: &[u8]) -> dyn_slice {
    dyn_slice { data: bytes.as_ptr(), len: bytes.len() }
}

fn call(args: &[u8], payload: &[u8]) -> dyn_call {
    dyn_call {
        handle: std::ptr::null(),
        other: std::ptr::null(),
        args: slice(args),
        payload: slice(payload),
        a: 1,
        b: 2,
        op: 0,
        scope: 0,
        done: None,
        user: std::ptr::null_mut(),
    }
}

/// The words after `write` has written to four of them.
fn after(offset: u64, write: impl FnOnce(super::Out)) -> [u32; 4] {
    let mut words = [0u32; 4];
    let payload = dyn_slice { data: words.as_mut_ptr().cast(), len: 16 };
    let raw = dyn_call { payload, ..call(&[], &[]) };
    write(Call::new(&raw).out(offset).unwrap());
    words
}

#[test]
fn writes_words_from_an_offset_on() {
    assert_eq!(after(1, |out| out.put(0, 7)), [0, 7, 0, 0]);
    assert_eq!(after(0, |out| out.put_all(1, [7, 8].into_iter())), [0, 7, 8, 0]);
    assert_eq!(after(0, |out| out.put_long(1, 7 | 8 << 32)), [0, 0, 7, 8]);
}

#[test]
fn drops_words_that_do_not_fit() {
    assert_eq!(after(3, |out| out.put(1, 7)), [0; 4]);
    assert_eq!(after(2, |out| out.put_all(0, 1..=9)), [0, 0, 1, 2]);
    assert_eq!(after(3, |out| out.put_long(0, 7)), [0; 4]);
}

#[test]
fn rejects_more_words_than_there_is_space_for() {
    after(1, |out| {
        assert!(out.check(3).is_ok());
        assert!(out.check(4).is_err());
    });
}

#[test]
fn rejects_an_offset_after_the_last_word() {
    let raw = call(&[], &[0; 8]);
    let call = Call::new(&raw);
    assert!(call.out(2).is_ok());
    assert_eq!(call.out(3).err().unwrap().message, "out: expected an offset of 0 to 2 words, got 3");
}

#[test]
fn rejects_arguments_of_another_shape() {
    let args = rmp_serde::to_vec("text").unwrap();
    let raw = call(&args, &[]);
    let call = Call::new(&raw);
    assert_eq!(call.args::<String>().unwrap(), "text");
    assert_eq!(call.args::<u32>().unwrap_err().class, "BadArgument");
}

#[test]
fn names_the_handle_that_an_entry_expects() {
    struct Wanted;
    struct Given;
    let handle = Handle::new(std::sync::Arc::new(Given)).into_raw();
    let raw = dyn_call { handle, ..call(&[], &[]) };
    let call = Call::new(&raw);
    assert_eq!(call.handle::<Wanted>().err().unwrap().message, "handle: expected Wanted, got Given");
    assert_eq!(call.handle_ref::<Wanted>().err().unwrap().message, "handle: expected Wanted, got Given");
    assert_eq!(call.other::<Wanted>().err().unwrap().message, "handle: expected Wanted, got none");
    assert!(call.handle::<Given>().is_ok());
    // SAFETY: made above and freed once.
    unsafe { dyn_handle_free(handle) };
}

#[test]
fn replies_with_what_an_entry_returns() {
    let reply = dyn_reply::from(Ok(Reply::number(7)));
    assert_eq!((reply.failed, reply.number, reply.bytes.len, reply.handle_count), (0, 7, 0, 0));
    let reply = dyn_reply::from(Ok(Reply::with_handles(vec![1, 2], vec![Handle::new(std::sync::Arc::new(()))])));
    assert_eq!((reply.failed, reply.number, reply.bytes.len, reply.handle_count), (0, DYN_NO_NUMBER, 2, 1));
    // SAFETY: each part of the reply is freed once.
    unsafe {
        dyn_handle_free(*reply.handles);
        dyn_handles_free(reply.handles, reply.handle_count);
        dyn_bytes_free(reply.bytes);
    }
}

#[test]
fn replies_with_the_failure_of_an_entry() {
    let raw = call(&[], &[]);
    let reply = super::reply(&raw, |_| Err(Failure::invalid("wrong")));
    assert_eq!((reply.failed, reply.number), (1, DYN_NO_NUMBER));
    // SAFETY: bytes of a reply, freed once.
    unsafe { dyn_bytes_free(reply.bytes) };
}

#[test]
fn replies_with_a_failure_when_an_entry_panics() {
    let raw = call(&[], &[]);
    let reply = super::reply_number(&raw, |_| panic!("on purpose"));
    assert_eq!(reply.failed, 1);
    // SAFETY: bytes of a reply, freed once.
    unsafe { dyn_bytes_free(reply.bytes) };
}
