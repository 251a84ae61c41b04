use super::*;

fn packed_request(kind: u32, args: &[u8], tokens: &[u32]) -> Vec<u8> {
    let words = tokens.iter().flat_map(|token| token.to_le_bytes());
    let head = [kind, args.len() as u32, tokens.len() as u32 * 4];
    head.iter().flat_map(|word| word.to_le_bytes()).chain(args.iter().copied()).chain(words).collect()
}

#[test]
fn splits_requests_of_any_length() {
    let payload = [packed_request(0, &[0xa1, b'x'], &[7, 8]), packed_request(1, &[0xc0], &[])].concat();
    let requests = split(payload.into()).unwrap();
    assert_eq!(requests.len(), 2);
    assert_eq!((requests[0].kind, requests[0].args::<String>().unwrap().as_str()), (0, "x"));
    assert_eq!(requests[0].tokens().unwrap(), [7, 8]);
    assert_eq!((requests[1].kind, requests[1].tokens().unwrap().len()), (1, 0));
    assert!(split(Bytes::new()).unwrap().is_empty());
}

#[test]
fn rejects_a_payload_that_ends_in_a_request() {
    let whole = packed_request(0, &[0xa1, b'x'], &[7, 8]);
    for length in 1..whole.len() {
        assert!(split(whole[..length].to_vec().into()).is_err(), "{length} bytes");
    }
    let huge = [0u32, u32::MAX, u32::MAX].iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    assert!(split(huge.into()).is_err());
}

#[tokio::test]
async fn an_answer_waits_for_no_other() {
    let answers: FuturesUnordered<_> =
        [futures::future::pending().boxed(), std::future::ready(1).boxed(), std::future::ready(2).boxed()]
            .into_iter()
            .collect();
    let mut answers = Box::pin(together(answers));
    let mut got = [answers.next().await, answers.next().await];
    got.sort_unstable();
    assert_eq!(got, [Some(1), Some(2)]);
    assert_eq!(answers.next().now_or_never(), None);
}
