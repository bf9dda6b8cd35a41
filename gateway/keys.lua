-- API keys: who may call what. KEYS (by SHA-256), SCOPES (by gRPC path) and
-- REFUSALS are generated and stand before this text. LuaJIT brings no hash, so
-- SHA-256 (FIPS 180-4) is here: keys need not lie readable in a file, and how
-- long a look-up takes tells nothing about them.

local band, bnot, bxor, ror, rshift, tobit = bit.band, bit.bnot, bit.bxor, bit.ror, bit.rshift, bit.tobit
local LONGEST_KEY = 256
local K = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}

local function schedule(text, start)
  local w = {}
  for i = 0, 15 do
    local a, b, c, d = string.byte(text, start + 4 * i, start + 4 * i + 3)
    w[i] = tobit(((a * 256 + b) * 256 + c) * 256 + d)
  end
  for i = 16, 63 do
    local x, y = w[i - 15], w[i - 2]
    local near = bxor(ror(x, 7), ror(x, 18), rshift(x, 3))
    w[i] = tobit(w[i - 16] + near + w[i - 7] + bxor(ror(y, 17), ror(y, 19), rshift(y, 10)))
  end
  return w
end

local function sha256(text)
  local bits = #text * 8 -- keys are short: two bytes hold it
  local padding = "\128" .. string.rep("\0", (55 - #text) % 64)
  text = text .. padding .. string.rep("\0", 6) .. string.char(rshift(bits, 8), band(bits, 255))
  local sum = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
  }
  for start = 1, #text, 64 do
    local w = schedule(text, start)
    local a, b, c, d, e, f, g, h = unpack(sum)
    for i = 0, 63 do
      local choice = bxor(band(e, f), band(bnot(e), g))
      local t = h + bxor(ror(e, 6), ror(e, 11), ror(e, 25)) + choice + K[i + 1] + w[i]
      local u = bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(a, c), band(b, c))
      a, b, c, d, e, f, g, h = tobit(t + u), a, b, c, tobit(d + t), e, f, g
    end
    for i, part in ipairs({ a, b, c, d, e, f, g, h }) do
      sum[i] = tobit(sum[i] + part)
    end
  end
  for i = 1, 8 do
    sum[i] = bit.tohex(sum[i])
  end
  return table.concat(sum)
end

-- Gives nothing when the call may pass, else the name of a refusal. Without a
-- scope any known key will do: there is nothing to be had.
local function check_key(headers, scope)
  local written, plain = headers:get("authorization"), headers:get("x-api-key")
  headers:remove("authorization") -- no service and no log ever sees a key
  headers:remove("x-api-key")
  if not next(KEYS) or scope == "open" then return end
  local bearer = written and (written:match("^[Bb][Ee][Aa][Rr][Ee][Rr] +(.*)$") or "")
  if bearer and plain and bearer ~= plain then return "conflicting" end
  local key = bearer or plain
  if not key then return "missing" end
  local known = #key <= LONGEST_KEY and KEYS[sha256(key)]
  if not known then return "unknown" end
  if scope and not known[scope] then return scope end
  if not headers:get("x-mlx-hub-caller") then headers:add("x-mlx-hub-caller", known.name) end
end

-- Answers a call that may not come in; gives whether it did.
function refuse_key(handle, path, scope, is_grpc)
  local headers = handle:headers()
  local ok, name = pcall(check_key, headers, scope)
  if ok and not name then return false end
  local refusal = REFUSALS[ok and name or "unknown"] -- Envoy lets pass what a script fails on
  if is_grpc then -- headers alone, as gRPC and gRPC-Web both read them
    handle:respond({
      [":status"] = "200",
      ["x-mlx-hub-grpc"] = "1", -- Envoy drops the content type of what has no content
      ["grpc-status"] = refusal.code,
      ["grpc-message"] = refusal.message,
      ["grpc-status-details-bin"] = refusal.binary,
    })
    return true
  end
  local reply = { [":status"] = refusal.http, ["content-type"] = "application/json" }
  if refusal.http == "401" then reply["www-authenticate"] = 'Bearer realm="mlx-hub"' end
  headers:replace("x-mlx-hub-refusal", "1") -- the reply stays as it is, see envoy.yaml.j2
  handle:respond(reply, path:find("^/v1/") and refusal.openai or refusal.body)
  return true
end
