-- Bounds what one stream may put into a server's memory. Triton takes messages of 2 GiB, reads a stream as fast as it comes, and has no option
-- against either. Envoy and HAProxy both run this file; README.md says how to choose the numbers. Lua 5.1 (LuaJIT) to 5.4.
local MIB = 1048576
local MAX_MESSAGE = 128 * MIB -- one request: a raw frame, a snapshot (STATE)
local MAX_WAITING = 64 -- requests of one stream without an answer
local MAX_WAITING_BYTES = 2 * MAX_MESSAGE -- and their size together

-- A gRPC stream is a row of messages, each behind five bytes: 1 if compressed, and its size. A proxy sees them in pieces cut anywhere, can change
-- them, and cannot end a running stream with a status. So a request over a limit is replaced, none of its bytes goes on, by a short one to a
-- model that does not exist, whose name is the error: Triton answers it at its turn, under the request's id, and the video goes on.
local PREFIX = 5
local FRONT = 1024 -- bytes of a refused request in which its id is looked for
local MAX_REFUSED = 16 * MAX_WAITING -- requests of one stream without an answer, from which on refused ones get none: only a flood comes so far

-- The number that begins at a place, and where it ends; nothing if it is over 16383, which no field that we look for is.
local function varint(bytes, at)
  local low, high = bytes:byte(at, at + 1)
  if low and low < 128 then return low, at + 1 end
  if high and high < 128 then return low - 128 + 128 * high, at + 2 end
end

-- ModelInferRequest.id; "" where the bytes do not begin with name, version and id, as they do when protobuf wrote them.
local function request_id(front)
  local at = 1
  while at <= #front do
    local field, size, start = front:byte(at)
    size, start = varint(front, at + 1)
    if not size or field > 26 or field % 8 ~= 2 or start + size - 1 > #front then return "" end
    if field == 26 then return front:sub(start, start + size - 1) end
    at = start + size
  end
  return ""
end

local function text_field(number, text)
  local low = #text % 128
  return string.char(number * 8 + 2, low + 128, (#text - low) / 128) .. text -- two bytes of length: up to 16383
end

local function refusal(why, id)
  if id:find("^%w+$") then why = why .. " [request " .. id .. "]" end -- as masklet's own errors end
  local body = text_field(1, why) .. text_field(3, id)
  local low = #body % 256
  return string.char(0, 0, 0, (#body - low) / 256, low) .. body
end

local function mib(bytes)
  return string.format("%.1f MiB", bytes / MIB)
end

local function waiting(stream)
  return stream.last - stream.first + 1
end

-- Why a request is refused; nil: it is not.
local function reason(stream, compressed, size)
  if compressed ~= 0 then
    return "MASKLET_BAD_REQUEST: a compressed message, whose true size the gateway cannot see. Send it without gRPC compression."
  end
  if size > MAX_MESSAGE then
    return "MASKLET_FRAME_TOO_LARGE: one request of " .. mib(size) .. ", and this gateway takes " .. mib(MAX_MESSAGE)
      .. ". Send frames as JPEG or smaller; for a snapshot its operator can raise MAX_MESSAGE."
  end
  if waiting(stream) >= MAX_WAITING or stream.bytes + size > MAX_WAITING_BYTES then
    return "MASKLET_SERVER_BUSY: " .. waiting(stream) .. " requests of this stream wait for their answers, " .. mib(stream.bytes)
      .. " together; this gateway lets " .. MAX_WAITING .. " or " .. mib(MAX_WAITING_BYTES) .. " wait. Send this one again after some answers."
  end
end

-- What waits on a stream: sizes of the requests from `first` to `last`, oldest first. Triton answers in this order, once each.
local function new_stream()
  return { sizes = {}, first = 1, last = 0, bytes = 0 }
end

local function sent(stream, size)
  stream.last, stream.bytes = stream.last + 1, stream.bytes + size
  stream.sizes[stream.last] = size
end

local function answered(stream)
  if stream.first <= stream.last then
    stream.bytes = stream.bytes - stream.sizes[stream.first]
    stream.sizes[stream.first] = nil
    stream.first = stream.first + 1
  end
end

-- Where one direction is within its messages: bytes of the present one to come, and what there is of the next prefix.
local function new_walk()
  return { left = 0, head = "" }
end

-- Reads on in a prefix from `at`. Returns how many bytes it took, and, if it is complete now, the first byte and the size.
local function read_prefix(walk, length, at, bytes)
  local count = math.min(PREFIX - #walk.head, length - at)
  walk.head = walk.head .. bytes(at, count)
  if #walk.head < PREFIX then return count end
  local compressed, a, b, c, d = walk.head:byte(1, PREFIX)
  return count, compressed, ((a * 256 + b) * 256 + c) * 256 + d
end

local function count_answers(stream, walk, length, bytes)
  local at = 0
  while at < length do
    if walk.left > 0 then
      local count = math.min(walk.left, length - at)
      walk.left, at = walk.left - count, at + count
    else
      local count, _, size = read_prefix(walk, length, at, bytes)
      at = at + count
      if size then
        walk.left, walk.head = size, ""
        answered(stream)
      end
    end
  end
end

-- A piece of a stream with some of its bytes left out or replaced.
local function new_piece(length, bytes)
  return { length = length, bytes = bytes, parts = {}, from = 0, to = 0 }
end

local function flush(piece)
  if piece.to > piece.from then piece.parts[#piece.parts + 1] = piece.bytes(piece.from, piece.to - piece.from) end
end

local function keep(piece, at, count)
  if piece.to ~= at then
    flush(piece)
    piece.from = at
  end
  piece.to = at + count
end

local function put(piece, text)
  flush(piece)
  piece.parts[#piece.parts + 1] = text
  piece.from, piece.to = 0, 0
end

-- The piece as it goes on; nil: as it came.
local function result(piece)
  if piece.from == 0 and piece.to == piece.length and #piece.parts == 0 then return nil end
  flush(piece)
  return table.concat(piece.parts)
end

-- Begins a message: its prefix is complete.
local function begin(stream, walk, piece, at, count, compressed, size)
  walk.why = reason(stream, compressed, size)
  walk.refused, walk.front = walk.why ~= nil, ""
  if walk.refused and waiting(stream) >= MAX_REFUSED then
    walk.why = nil
  elseif walk.refused then
    sent(stream, 0)
  else
    sent(stream, size)
    if count == PREFIX then keep(piece, at, count) else put(piece, walk.head) end
  end
  walk.left, walk.head = size, ""
end

-- Checks a piece of `length` bytes of the requests; bytes(at, count) reads it. Returns what goes on instead, nil: the piece as it is.
local function check_requests(stream, walk, length, bytes)
  local at, piece = 0, new_piece(length, bytes)
  while at < length do
    local count
    if walk.left > 0 then
      count = math.min(walk.left, length - at)
      if not walk.refused then
        keep(piece, at, count)
      elseif walk.why and #walk.front < FRONT then
        walk.front = walk.front .. bytes(at, math.min(count, FRONT - #walk.front))
      end
      walk.left = walk.left - count
    else
      local compressed, size
      count, compressed, size = read_prefix(walk, length, at, bytes)
      if size then begin(stream, walk, piece, at, count, compressed, size) end
    end
    if walk.why and walk.left == 0 then -- at its end, so that the last piece of a stream is never left with nothing
      put(piece, refusal(walk.why, request_id(walk.front)))
      walk.why = nil
    end
    at = at + count
  end
  return result(piece)
end

-- Envoy: two coroutines per stream, which find each other by a number. The table holds no stream alive.
local streams, number = setmetatable({}, { __mode = "v" }), 0

local function chunk_bytes(chunk)
  return function(at, count) return chunk:getBytes(at, count) end
end

function envoy_on_request(handle)
  local stream, walk = new_stream(), new_walk()
  number = number + 1
  streams[number] = stream
  handle:streamInfo():dynamicMetadata():set("masklet", "stream", number)
  for chunk in handle:bodyChunks() do
    local instead = check_requests(stream, walk, chunk:length(), chunk_bytes(chunk))
    if instead then chunk:setBytes(instead) end
  end
end

function envoy_on_response(handle)
  local known = handle:streamInfo():dynamicMetadata():get("masklet")
  local stream, walk = known and streams[known.stream], new_walk()
  if not stream then return end
  for chunk in handle:bodyChunks() do
    count_answers(stream, walk, chunk:length(), chunk_bytes(chunk))
  end
end

-- HAProxy: one object per stream.
if core and core.register_filter then
  local Messages = { id = "masklet messages", flags = filter.FLT_CFG_FL_HTX }
  Messages.__index = Messages

  function Messages:new()
    return setmetatable({ stream = new_stream(), requests = new_walk(), answers = new_walk() }, Messages)
  end

  function Messages:start_analyze(txn, channel)
    filter.register_data_filter(self, channel)
  end

  -- Returns how many bytes may go on; without a number all of them.
  function Messages:http_payload(txn, message)
    local from = 0
    if self.instead then -- it found no room before
      if message:set(self.instead, 0, self.length) < 0 then return 0 end
      from, self.instead = #self.instead, nil
    end
    -- input() counts trailers and the end of the message too, and these come together.
    local length = (message:eom() and #(message:body() or "") or message:input()) - from
    local function bytes(at, count) return message:body(from + at, count) end
    if message.channel:is_resp() then return count_answers(self.stream, self.answers, length, bytes) end
    local instead = check_requests(self.stream, self.requests, length, bytes)
    if instead == "" and from == 0 and message:eom() then
      return filter.ERROR -- HAProxy 2.6 would lose the end of the stream. Only one that breaks off within a refused request, or floods, comes here
    elseif instead == "" then
      message:remove(from, length)
    elseif instead and message:set(instead, from, length) < 0 then
      self.instead, self.length = instead, length
      return from
    end
  end

  core.register_filter("masklet-messages", Messages, function(messages, arguments) return messages end)
end
