# The wire contract: one Kafka message of topic `http_log` is one unpacked
# HttpLogRecord. Ordinals never move and never change their type; a new field
# takes the next free ordinal.
@0xf42cd342ff520eca;

struct HttpLogRecord {
  timestampEpochMilli @0 :UInt64;  # when the request was served, ms since 1970-01-01 UTC
  resourceId          @1 :UInt64;  # the resource that was asked for
  bytesSent           @2 :UInt64;  # bytes of the response
  requestTimeMilli    @3 :UInt64;  # how long the request took, ms
  responseStatus      @4 :UInt16;  # HTTP status
  cacheStatus         @5 :Text;    # for example HIT or MISS
  method              @6 :Text;    # HTTP method
  remoteAddr          @7 :Text;    # the client's address, unmasked: never leaves ingest
  url                 @8 :Text;    # the URL asked for
}
