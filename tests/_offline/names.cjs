// Keeps look-ups of names on this machine, in a Node that begins with it: localhost alone has an address.
const dns = require("node:dns");
const net = require("node:net");

const real = dns.lookup;

dns.lookup = function lookup(name, options, callback) {
  const done = typeof options === "function" ? options : callback;
  const asked = name === "localhost" ? "127.0.0.1" : name;
  if (net.isIP(asked)) return real(asked, ...(done === options ? [done] : [options, done]));
  const error = Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), {
    code: "ENOTFOUND",
    errno: -3008,
    hostname: name,
    syscall: "tests",
  });
  process.nextTick(done, error);
};
dns.promises.lookup = (name, options) =>
  new Promise((resolve, reject) => {
    dns.lookup(name, options ?? {}, (error, address, family) =>
      error ? reject(error) : resolve(Array.isArray(address) ? address : { address, family }),
    );
  });
dns.setServers([process.env.TESTS_NAME_SERVER ?? "127.0.0.1:9"]);
