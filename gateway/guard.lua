-- Refuses what the transcoder would drop in silence: fields that the contract
-- does not know. ROUTES and MESSAGES are generated from the descriptors and
-- stand before this text. Whatever REST path this table does not know is
-- refused here, so nothing can pass unchecked by being matched differently later.
--
-- The reader is strict JSON: the transcoder's own is lenient ('single quotes',
-- bare keys), and a lenient reader after a strict one must never see such text.

local byte, find, sub = string.byte, string.find, string.sub
local MAX_DEPTH = 64
local ESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }
local QUOTE, COMMA, COLON, OPEN, CLOSE, LIST, END = 34, 44, 58, 123, 125, 91, 93

local trail = {} -- keys and list indexes down to where the reader stands

local value

local function where(depth)
  local text = ""
  for level = 1, math.min(depth, 16) do
    local step = trail[level]
    if type(step) == "number" then
      text = text .. "[" .. step .. "]"
    else
      text = text .. (text == "" and "" or ".") .. step
    end
  end
  return text
end

local function refuse(message, field)
  error({ message = message, field = field }, 0)
end

local function malformed(i)
  error({ message = "the body is not JSON: byte " .. i .. " is unexpected", field = "body", whole = true }, 0)
end

local function after_space(s, i)
  return find(s, "[^ \t\r\n]", i) or #s + 1
end

local function after_string(s, i)
  local p = find(s, '["\\]', i + 1)
  while p and byte(s, p) ~= QUOTE do
    p = find(s, '["\\]', p + 2)
  end
  return p and p + 1 or malformed(#s)
end

local function unescape(raw, i)
  if not find(raw, "\\", 1, true) then return raw end
  return (raw:gsub("\\(.)(%x?%x?%x?%x?)", function(kind, digits)
    if kind ~= "u" then return (ESCAPES[kind] or malformed(i)) .. digits end
    local code = #digits == 4 and tonumber(digits, 16)
    return code and code < 128 and string.char(code) or "\\u" .. digits
  end))
end

local function member(s, i, message, seen, depth)
  if byte(s, i) ~= QUOTE then malformed(i) end
  local stop = after_string(s, i)
  local key = unescape(sub(s, i + 1, stop - 2), i)
  trail[depth] = key
  local field = message and (message[key] or message["*"])
  if message and not field then refuse("unknown field", where(depth)) end
  local name = field and field.name or key
  if seen[name] then refuse("given twice: field", where(depth)) end
  seen[name] = true
  i = after_space(s, stop)
  if byte(s, i) ~= COLON then malformed(i) end
  return value(s, after_space(s, i + 1), field and MESSAGES[field.message], depth)
end

local function object(s, i, message, depth)
  local seen = {}
  i = after_space(s, i + 1)
  if byte(s, i) == CLOSE then return i + 1 end
  while true do
    i = after_space(s, member(s, i, message, seen, depth))
    local mark = byte(s, i)
    if mark == CLOSE then return i + 1 end
    if mark ~= COMMA then malformed(i) end
    i = after_space(s, i + 1)
  end
end

local function list(s, i, message, depth)
  local index = 0
  i = after_space(s, i + 1)
  if byte(s, i) == END then return i + 1 end
  while true do
    trail[depth] = index
    i = after_space(s, value(s, i, message, depth))
    local mark = byte(s, i)
    if mark == END then return i + 1 end
    if mark ~= COMMA then malformed(i) end
    i, index = after_space(s, i + 1), index + 1
  end
end

value = function(s, i, message, depth)
  if depth > MAX_DEPTH then refuse("nested too deep: field", where(depth)) end
  local mark = byte(s, i)
  if mark == QUOTE then return after_string(s, i) end
  if mark == OPEN then return object(s, i, message, depth + 1) end
  if mark == LIST then return list(s, i, message, depth + 1) end
  local _, stop = find(s, "^[%w+.-]+", i) -- a number or a word; the transcoder judges it
  return stop and stop + 1 or malformed(i)
end

-- Gives nothing when the body may pass, else {message, field}.
function check_body(body, message)
  local ok, refusal = pcall(function()
    local i = after_space(body, 1)
    if i > #body then return end
    i = after_space(body, value(body, i, MESSAGES[message], 0))
    if i <= #body then malformed(i) end
  end)
  if not ok then
    return type(refusal) == "table" and refusal or { message = "the body can't be read" }
  end
end

function route_of(verb, path)
  path = path:gsub("(.)/+$", "%1")
  for _, route in ipairs(ROUTES) do
    if route.verb == verb and find(path, route.pattern) then return route end
  end
end

local function details(field, text)
  return '{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"INVALID_FIELD",'
    .. '"domain":"mlx-hub","metadata":{"field":"' .. field .. '"}},'
    .. '{"@type":"type.googleapis.com/google.rpc.BadRequest","field_violations":[{"field":"'
    .. field .. '","description":"' .. text .. '","reason":""}]}'
end

local function answer(handle, status, code, message, field, whole)
  local shown, text = "", message
  if field then
    field = sub(field, 1, 200):gsub("[^%w_.%[%]-]", "?")
    text = whole and message or message .. " `" .. field .. "`"
    shown = details(field, text)
  end
  handle:headers():replace("x-mlx-hub-refusal", "1") -- the reply stays as it is, see envoy.yaml.j2
  if find(handle:headers():get(":path"), "^/v1/") then
    local kind = '","type":"invalid_request_error","param":null,"code":null}}'
    local body = '{"error":{"message":"' .. text .. kind
    return handle:respond({ [":status"] = status, ["content-type"] = "application/json" }, body)
  end
  local body = '{"code":' .. code .. ',"message":"' .. text .. '","details":[' .. shown .. "]}"
  handle:respond({ [":status"] = status, ["content-type"] = "application/json" }, body)
end

-- As Envoy itself tells gRPC: what only looks like it is transcoded, so it is checked as REST.
local function is_grpc(headers)
  local kind = headers:get("content-type") or ""
  return kind == "application/grpc" or find(kind, "^application/grpc[+;]") ~= nil
end

-- Over REST, gRPC's own headers but its deadline mean nothing, and a name that gRPC can't carry is
-- nobody's: as metadata they would fail the call with an error of the library's.
local function drop_foreign(headers)
  local foreign = {}
  for name in pairs(headers) do
    local own = find(name, "^grpc%-") and name ~= "grpc-timeout"
    if own or find(name, "[^%w:_.-]") or find(name, "%-bin$") then
      foreign[#foreign + 1] = name
    end
  end
  for _, name in ipairs(foreign) do headers:remove(name) end
end

local function check_rest(handle, route)
  local headers = handle:headers()
  drop_foreign(headers)
  local wait = headers:get("grpc-timeout")
  if wait and not (#wait <= 9 and find(wait, "^%d+[HMSmun]$")) then
    return answer(handle, "400", 3, "not up to 8 digits and one of H, M, S, m, u, n: header", "grpc-timeout")
  end
  if not route then return answer(handle, "404", 5, "no such endpoint") end
  if route.raw then return end
  local body = handle:body()
  local size = body and body:length() or 0
  if size == 0 then return end
  if not route.message then return answer(handle, "400", 3, "this endpoint takes no body", "body", true) end
  local refusal = check_body(body:getBytes(0, size), route.message)
  if refusal then answer(handle, "400", 3, refusal.message, refusal.field, refusal.whole) end
end

-- A caller's own request id counts if it is short and plain: it stands in logs and in answers.
local function name_request(headers)
  local given = headers:get("x-mlx-hub-given-id") or ""
  headers:remove("x-mlx-hub-given-id")
  if given ~= "-" and #given <= 100 and find(given, "^[%w._-]+$") then headers:replace("x-request-id", given) end
  local parent = headers:get("traceparent")
  local trace = parent and parent:match("^%x%x%-(%x+)%-%x+%-%x%x$")
  if trace and #trace == 32 then headers:replace("x-mlx-hub-trace-id", trace) end -- for the access log
end

function envoy_on_request(handle)
  local headers = handle:headers()
  name_request(headers)
  local path = (headers:get(":path") or ""):match("^[^?]*")
  if is_grpc(headers) then
    refuse_key(handle, path, SCOPES[path] or "admin", true) -- what is not known may be anything
    return
  end
  local route = route_of(headers:get(":method"), path)
  if not refuse_key(handle, path, route and route.scope, false) then check_rest(handle, route) end
end

-- The transcoder's own refusals, in the shape that envoy.yaml.j2 gives them, name their field in
-- the text alone.
local function field_of(message)
  return message:match("^([%w_.%[%]]+): ")
    or message:match('^Could not find field \\"([%w_.]+)\\"')
    or message:match(" of the field ([%w_.]+) is conflicting")
    or "request"
end

local function detail(handle)
  local body = handle:body()
  local size = body and body:length() or 0
  local text = size > 0 and body:getBytes(0, size) or ""
  local message = text:match('^{"code":3,"details":%[%],"message":"(.*)"}%s*$')
  if not message then return end
  local shown = details(field_of(message), message)
  local size = body:setBytes('{"code":3,"message":"' .. message .. '","details":[' .. shown .. "]}")
  handle:headers():replace("content-length", size)
end

function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get("x-mlx-hub-grpc") then
    headers:remove("x-mlx-hub-grpc")
    headers:replace("content-type", "application/grpc")
  end
  if is_grpc(headers) then return end -- native gRPC stays 200
  local code = headers:get("x-http-code")
  if code and headers:get(":status") == "200" then headers:replace(":status", code) end
  local length = headers:get("x-http-length") -- gRPC-Web's frames are longer than the file
  if length and not find(headers:get("content-type") or "", "^application/grpc") then
    headers:replace("content-length", length)
    -- HTTP/1.1 has no word for a failure on the way but a connection that is closed too early.
    handle:streamInfo():drainConnectionUponCompletion()
  end
  if headers:get(":status") == "400" and headers:get("content-type") == "application/json" then
    detail(handle)
  end
  headers:remove("grpc-status") -- the transcoder leaves these on JSON replies
  headers:remove("grpc-message")
  headers:remove("grpc-status-details-bin")
end
