//! The choices that a host asks for in one turn of its event loop. They cross together, because a crossing and a
//! wake-up of the runtime for each cost more than the choices.
//!
//! The payload has for each request `[kind u32][args length u32][tokens length u32]`, its arguments in MessagePack and
//! its tokens as 32-bit words. Lengths are bytes. An answer is `[index u32][failed u32]` and the response or failure in
//! MessagePack. All words are little-endian.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::words::u32s;
use crate::abi::{Call, Failure, Handle, Reply};
use crate::stream::{Item, PullStream};

const HEAD_BYTES: usize = 12;

/// One request, as the host packed it.
pub struct ChoiceRequest {
    /// What is wanted, in the numbers of the entry.
    pub kind: u32,
    args: Bytes,
    tokens: Bytes,
}

impl ChoiceRequest {
    /// A request that has a call to itself.
    pub fn new(kind: u32, args: &[u8], tokens: &[u8]) -> Self {
        Self { kind, args: Bytes::copy_from_slice(args), tokens: Bytes::copy_from_slice(tokens) }
    }

    pub fn args<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        rmp_serde::from_slice(&self.args).map_err(|error| Failure::invalid(error.to_string()))
    }

    pub fn tokens(&self) -> Result<Vec<u32>, Failure> {
        u32s("tokens", &self.tokens)
    }
}

/// A response in MessagePack.
pub fn packed(response: &impl Serialize) -> Result<Vec<u8>, Failure> {
    rmp_serde::to_vec_named(response).map_err(Failure::internal)
}

fn split(mut payload: Bytes) -> Result<Vec<ChoiceRequest>, Failure> {
    let mut requests = Vec::new();
    while !payload.is_empty() {
        let cut = || Failure::invalid("the payload ends in a request");
        if payload.len() < HEAD_BYTES {
            return Err(cut());
        }
        let [kind, args, tokens] = [payload.get_u32_le(), payload.get_u32_le(), payload.get_u32_le()];
        let (args, tokens) = (args as usize, tokens as usize);
        if payload.len() < args.saturating_add(tokens) {
            return Err(cut());
        }
        requests.push(ChoiceRequest { kind, args: payload.split_to(args), tokens: payload.split_to(tokens) });
    }
    Ok(requests)
}

fn answer(index: usize, chosen: Result<Vec<u8>, Failure>) -> Item {
    let (failed, bytes) = match chosen {
        Ok(response) => (0u32, response),
        Err(failure) => (1, failure.encode()),
    };
    let mut answer = Vec::with_capacity(8 + bytes.len());
    answer.extend_from_slice(&(index as u32).to_le_bytes());
    answer.extend_from_slice(&failed.to_le_bytes());
    answer.extend_from_slice(&bytes);
    Item::Data(answer.into())
}

/// How long an answer waits for others, so that they cross together.
const GRACE: Duration = Duration::from_micros(100);

fn together<Answer>(mut answers: FuturesUnordered<Answer>) -> impl Stream<Item = Answer::Output>
where
    Answer: Future,
{
    async_stream::stream! {
        while let Some(first) = answers.next().await {
            let mut ready = vec![first];
            let until = Instant::now() + GRACE;
            while !answers.is_empty() && Instant::now() < until {
                match answers.next().now_or_never().flatten() {
                    Some(next) => ready.push(next),
                    // A timer of the runtime is ten times as long.
                    None => tokio::task::yield_now().await,
                }
            }
            for answer in ready {
                yield answer;
            }
        }
    }
}

/// Makes the choices of the payload at the same time. Returns a `PullStream` of the answers, each when it is known: a
/// choice that waits for a worker delays no other.
pub fn choices<Choose, Choice>(call: &Call, choose: Choose) -> Result<Reply, Failure>
where
    Choose: Fn(ChoiceRequest) -> Choice,
    Choice: Future<Output = Result<Vec<u8>, Failure>> + Send + 'static,
{
    let requests = split(Bytes::copy_from_slice(call.payload()))?;
    let answers: FuturesUnordered<_> = requests
        .into_iter()
        .enumerate()
        .map(|(index, request)| {
            let choice = AssertUnwindSafe(choose(request)).catch_unwind();
            choice.map(move |chosen| answer(index, chosen.unwrap_or_else(|panic| Err(Failure::panic(panic)))))
        })
        .collect();
    Ok(Reply::handle(Handle::new(PullStream::new(Box::pin(together(answers).map(Ok))))))
}

#[cfg(test)]
mod tests;
