select
    concat_ws('-', flight_date, carrier, flight, origin) as flight_id,
    flight_date,
    carrier as carrier_code,
    flight as flight_number,
    tailnum as tail_number,
    origin as origin_airport,
    dest as destination_airport,
    cast(time_hour as timestamptz) as scheduled_hour,
    dep_delay as departure_delay_minutes,
    arr_delay as arrival_delay_minutes,
    air_time as air_time_minutes,
    distance as distance_miles,
    dep_time is null as is_cancelled
from {{ source('raw', 'flights') }}
