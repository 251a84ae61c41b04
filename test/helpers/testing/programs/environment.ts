// A program that writes its discovery, and waits.

console.log(`discovery ${process.env['DYN_DISCOVERY_BACKEND']} ${process.env['DYN_FILE_KV']}`);
setInterval(() => {}, 1000);
